#include "host/run/fingerprint.h"

#include <dlfcn.h>
#include <torch/version.h>
#include <turbojpeg.h>

#include "host/support/hash.h"
#include "microtome/hook_point.h"
#include "microtome/version.h"

namespace microtome::host {

namespace fs = std::filesystem;

fs::path library_of(const void* address) {
  Dl_info info;
  if (address == nullptr || dladdr(address, &info) == 0 || info.dli_fname == nullptr) return {};
  std::error_code code;
  const fs::path real = fs::canonical(info.dli_fname, code);
  return code ? fs::path(info.dli_fname) : real;
}

std::string cpu_capability() {
  // The only public way to it in all versions of LibTorch.
  const std::string config = at::show_config();
  const std::string label = "CPU capability usage: ";
  const auto at = config.find(label);
  if (at == std::string::npos) return "unknown";
  const auto from = at + label.size();
  return config.substr(from, config.find('\n', from) - from);
}

fs::path blas_library() { return library_of(dlsym(RTLD_DEFAULT, "sgemm_")); }

Value numerics_fingerprint(const Value& runtime, at::Device device) {
  const auto identity = [](const fs::path& file) -> Value {
    std::error_code code;
    // A library's name and size tell versions apart without reading hundreds of megabytes.
    const auto size = file.empty() ? 0 : fs::file_size(file, code);
    return file.filename().string() + ":" + std::to_string(size);
  };
  Value print = Value::map();
  std::error_code code;
  print.set("host", hash_file(fs::read_symlink("/proc/self/exe", code)));
  print.set("sdk_library", hash_file(library_of(reinterpret_cast<const void*>(&parse_hook_point))));
  print.set("libtorch", TORCH_VERSION);
  print.set("libtorch_library",
            identity(library_of(reinterpret_cast<const void*>(&at::get_num_threads))));
  print.set("blas", identity(blas_library()));
  print.set("onednn", identity(library_of(dlsym(RTLD_DEFAULT, "dnnl_version"))));
  print.set("jpeg", identity(library_of(reinterpret_cast<const void*>(&tjInitDecompress))));
  print.set("cpu_capability", cpu_capability());
  print.set("device", device.is_cuda() ? "cuda" : "cpu");
  print.set("runtime", runtime);
  return print;
}

}  // namespace microtome::host
