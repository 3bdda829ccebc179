#include "host/model/torchscript/model_file_kind.h"

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <optional>
#include <vector>

#include "host/support/file_kind.h"

namespace microtome::host::torchscript {
namespace {

namespace fs = std::filesystem;

constexpr const char* how_to_export =
    "make TorchScript of the network in Python: torch.jit.trace(net.eval(), example)"
    ".save(\"net.pt\"), see docs/export-your-model.md";

/// A file in a zip archive.
struct ZipEntry {
  std::string name;
  std::uint64_t offset = 0;  ///< of its local header
  std::uint64_t size = 0;    ///< as it is stored
  bool is_stored = false;    ///< not compressed
};

std::uint64_t number(std::string_view bytes, std::size_t at, std::size_t size) {
  std::uint64_t value = 0;
  for (std::size_t i = size; i-- > 0;)
    value = value << 8 | (at + i < bytes.size() ? static_cast<unsigned char>(bytes[at + i]) : 0U);
  return value;
}

std::string bytes_at(std::ifstream& stream, std::uint64_t at, std::uint64_t count) {
  std::string bytes(count, '\0');
  stream.clear();
  stream.seekg(static_cast<std::streamoff>(at));
  stream.read(bytes.data(), static_cast<std::streamsize>(count));
  bytes.resize(static_cast<std::size_t>(std::max<std::streamsize>(0, stream.gcount())));
  return bytes;
}

/// The 64-bit numbers that stand in place of 32-bit ones that are too small.
void widen(ZipEntry& entry, std::string_view extra, bool size_is_wide, bool whole_is_wide,
           bool offset_is_wide) {
  for (std::size_t at = 0; at + 4 <= extra.size();) {
    const std::uint64_t length = number(extra, at + 2, 2);
    if (number(extra, at, 2) == 1) {
      std::size_t next = at + 4;
      if (whole_is_wide) next += 8;
      if (size_is_wide) {
        entry.size = number(extra, next, 8);
        next += 8;
      }
      if (offset_is_wide) entry.offset = number(extra, next, 8);
      return;
    }
    at += 4 + length;
  }
}

/// The directory at the archive's end; nothing when the archive has no end.
std::optional<std::vector<ZipEntry>> zip_entries(std::ifstream& stream, std::uint64_t file_size) {
  constexpr std::uint64_t longest_comment = 65535, end_size = 22, locator_size = 20;
  constexpr std::uint64_t most_directory = 64'000'000;
  const std::uint64_t tail = std::min(file_size, longest_comment + end_size + locator_size);
  const std::string end = bytes_at(stream, file_size - tail, tail);
  const std::size_t found = end.rfind("PK\x05\x06");
  if (found == std::string::npos) return std::nullopt;
  std::uint64_t size = number(end, found + 12, 4), at = number(end, found + 16, 4);
  if (found >= locator_size && end.compare(found - locator_size, 4, "PK\x06\x07") == 0) {
    const std::string wide = bytes_at(stream, number(end, found - locator_size + 8, 8), 56);
    size = number(wide, 40, 8);
    at = number(wide, 48, 8);
  }
  if (at > file_size || size > file_size - at || size > most_directory) return std::nullopt;
  const std::string directory = bytes_at(stream, at, size);
  std::vector<ZipEntry> entries;
  for (std::size_t i = 0;
       i + 46 <= directory.size() && directory.compare(i, 4, "PK\x01\x02") == 0;) {
    const std::uint64_t name = number(directory, i + 28, 2), extra = number(directory, i + 30, 2),
                        comment = number(directory, i + 32, 2);
    constexpr std::uint64_t wide = 0xFFFFFFFF;
    ZipEntry entry{directory.substr(i + 46, name), number(directory, i + 42, 4),
                   number(directory, i + 20, 4), number(directory, i + 10, 2) == 0};
    widen(entry,
          std::string_view(directory).substr(std::min(i + 46 + name, directory.size()), extra),
          entry.size == wide, number(directory, i + 24, 4) == wide, entry.offset == wide);
    entries.push_back(std::move(entry));
    i += 46 + name + extra + comment;
  }
  return entries;
}

std::string content(std::ifstream& stream, const ZipEntry& entry) {
  constexpr std::uint64_t most = 16'000'000;
  if (!entry.is_stored) return "";
  const std::string header = bytes_at(stream, entry.offset, 30);
  return bytes_at(stream, entry.offset + 30 + number(header, 26, 2) + number(header, 28, 2),
                  std::min(entry.size, most));
}

/// What `torch.save` pickled.
std::string pickled(const std::string& pickle) {
  if (pickle.find("torch.nn.modules") != std::string::npos) {
    return std::string(
               "it is a whole network pickled by torch.save, which only Python with the network's "
               "classes reads; ") +
           how_to_export;
  }
  return std::string(
             "it is what torch.save wrote of weights or other tensors, without the network that "
             "they belong to; load them into the network (load_state_dict) and ") +
         how_to_export;
}

std::string why_not_zip(const fs::path& file) {
  std::error_code code;
  std::ifstream stream(file, std::ios::binary);
  const auto entries = zip_entries(stream, fs::file_size(file, code));
  if (!entries) return "it is a zip archive that is cut off; copy or download it again";
  const auto any = [&](auto matches) {
    return std::any_of(entries->begin(), entries->end(),
                       [&](const ZipEntry& entry) { return matches(entry.name); });
  };
  const auto has = [&](const std::string& part) {
    return any([&](const std::string& name) { return name.find(part) != std::string::npos; });
  };
  const auto ends = [&](const std::string& end) {
    return any([&](const std::string& name) { return name.ends_with(end); });
  };
  if (has("/code/")) return "";
  if (has("serialized_exported_program") || ends("models/model.json") || ends("archive_format")) {
    return "it is a torch.export archive (.pt2); make TorchScript of it in Python: "
           "torch.jit.trace(torch.export.load(path).module(), example).save(\"net.pt\")";
  }
  for (const ZipEntry& entry : *entries) {
    if (entry.name.ends_with("/data.pkl")) return pickled(content(stream, entry));
  }
  if (ends(".npy")) return "it is a NumPy archive (.npz): arrays without a network";
  if (ends("model.weights.h5")) return "it is a Keras model (.keras); Microtome reads TorchScript";
  return std::string("it is a zip archive without TorchScript's code; ") + how_to_export;
}

std::string why_not_folder(const fs::path& folder) {
  std::error_code code;
  if (fs::exists(folder / "config.json", code)) {
    return std::string(
               "it is a folder, as Hugging Face's save_pretrained writes it; load it there "
               "and ") +
           how_to_export;
  }
  if (fs::exists(folder / "saved_model.pb", code))
    return "it is a folder with a TensorFlow SavedModel; Microtome reads TorchScript";
  return "it is a folder; name the TorchScript file";
}

}  // namespace

std::string why_not_torchscript(const fs::path& file) {
  std::error_code code;
  if (fs::is_directory(file, code)) return why_not_folder(file);
  const std::optional<FileKind> kind = file_kind_at(file);
  if (!kind) return "";
  if (kind->is_zip) return why_not_zip(file);
  if (kind->what == "a Python pickle") {
    std::ifstream stream(file, std::ios::binary);
    return pickled(bytes_at(stream, 0, 16'000'000));
  }
  if (kind->what == "a tar archive") return "";  // of the first releases, which LibTorch may know
  if (!kind->remedy.empty()) return kind->text();
  return kind->text() + "; " + how_to_export;
}

}  // namespace microtome::host::torchscript
