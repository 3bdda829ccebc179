#include "host/loader/descriptor_reader.h"

#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <unistd.h>

#include <cstring>
#include <memory>

namespace microtome::host {
namespace {

class File {
 public:
  explicit File(const std::filesystem::path& path)
      : descriptor_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}
  ~File() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int get() const { return descriptor_; }

 private:
  int descriptor_;
};

bool is_terminated(const char* text, std::size_t size) {
  return std::memchr(text, 0, size) != nullptr;
}

std::string version(std::uint32_t major, std::uint32_t minor) {
  return std::to_string(major) + "." + std::to_string(minor);
}

}  // namespace

std::variant<PluginDescriptor, std::string> read_descriptor(const std::filesystem::path& path) {
  if (elf_version(EV_CURRENT) == EV_NONE) return "libelf is too old";
  const File file(path);
  if (file.get() < 0) return std::string("it can't be opened: ") + std::strerror(errno);
  const std::unique_ptr<Elf, decltype(&elf_end)> elf(
      elf_begin(file.get(), ELF_C_READ_MMAP, nullptr), &elf_end);
  GElf_Ehdr header;
  if (elf == nullptr || elf_kind(elf.get()) != ELF_K_ELF ||
      gelf_getehdr(elf.get(), &header) == nullptr || header.e_type != ET_DYN) {
    return "it is not a shared library";
  }
  std::size_t names = 0;
  if (elf_getshdrstrndx(elf.get(), &names) != 0)
    return "it is not a shared library: it has no sections";
  Elf_Scn* section = nullptr;
  while ((section = elf_nextscn(elf.get(), section)) != nullptr) {
    GElf_Shdr about;
    if (gelf_getshdr(section, &about) == nullptr) continue;
    const char* name = elf_strptr(elf.get(), names, about.sh_name);
    if (name == nullptr || std::strcmp(name, ".microtome") != 0) continue;
    const Elf_Data* data = elf_getdata(section, nullptr);
    PluginDescriptor descriptor;
    if (data == nullptr || data->d_buf == nullptr || data->d_size < sizeof descriptor) {
      return "its plugin descriptor is too short";
    }
    std::memcpy(&descriptor, data->d_buf, sizeof descriptor);
    if (std::memcmp(descriptor.magic, "MICRTOME", 8) != 0)
      return "its plugin descriptor is damaged";
    if (descriptor.stage_type_count > PluginDescriptor::max_stage_types ||
        !is_terminated(descriptor.abi, sizeof descriptor.abi) ||
        !is_terminated(descriptor.name, sizeof descriptor.name) ||
        !is_terminated(descriptor.version, sizeof descriptor.version)) {
      return "its plugin descriptor is damaged";
    }
    for (std::uint32_t i = 0; i < descriptor.stage_type_count; ++i) {
      if (!is_terminated(descriptor.stage_types[i], sizeof descriptor.stage_types[i])) {
        return "its plugin descriptor is damaged";
      }
    }
    return descriptor;
  }
  return "it has no plugin descriptor (section .microtome): it is no plugin, or it lacks "
         "MICROTOME_PLUGIN";
}

std::string incompatibility(const PluginDescriptor& plugin) {
  if (plugin.sdk_major != sdk_major || plugin.sdk_minor != sdk_minor) {
    return "it was built with SDK " + version(plugin.sdk_major, plugin.sdk_minor) +
           ", and this host has SDK " + version(sdk_major, sdk_minor) +
           ", whose objects are laid out otherwise: until 1.0 both must be equal. Build it again "
           "with this host's SDK";
  }
  if (plugin.libtorch_major != TORCH_VERSION_MAJOR ||
      plugin.libtorch_minor != TORCH_VERSION_MINOR) {
    return "it was built with LibTorch " + version(plugin.libtorch_major, plugin.libtorch_minor) +
           ", this host runs LibTorch " + version(TORCH_VERSION_MAJOR, TORCH_VERSION_MINOR) +
           "; build it again with that";
  }
  if (std::strcmp(plugin.abi, abi_tag) != 0) {
    return std::string("it was built for the C++ ABI \"") + plugin.abi + "\", this host has \"" +
           abi_tag + "\"; build it again with a matching compiler and standard library";
  }
  if (plugin.struct_size != sizeof(PluginDescriptor)) {
    return "its descriptor has " + std::to_string(plugin.struct_size) + " bytes, this host's " +
           std::to_string(sizeof(PluginDescriptor));
  }
  return "";
}

}  // namespace microtome::host
