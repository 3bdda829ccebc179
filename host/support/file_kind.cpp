#include "host/support/file_kind.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdint>
#include <fstream>

namespace microtome::host {
namespace {

namespace fs = std::filesystem;
using std::string_view_literals::operator""sv;

struct Signature {
  std::size_t offset;
  std::string_view bytes;
  const char* what;
  const char* remedy;
};

constexpr const char* unpack = "unpack it";
constexpr const char* convert = "convert it to PNG or JPEG";

constexpr std::array signatures = {
    Signature{0, "version https://git-lfs.github.com/spec/"sv,
              "a Git LFS pointer, not the file itself", "fetch the file with git lfs pull"},
    Signature{0, "/annex/objects/"sv, "a git-annex pointer, not the file itself",
              "fetch the file with git annex get"},
    Signature{0, "\x89PNG\r\n\x1a\n"sv, "a PNG image", ""},
    Signature{0, "\xFF\xD8\xFF"sv, "a JPEG image", ""},
    Signature{0, "GIF8"sv, "a GIF image", convert},
    Signature{8, "WEBP"sv, "a WebP image", convert},
    Signature{0, "BM"sv, "a BMP image", convert},
    Signature{0, "II*\0"sv, "a TIFF image", convert},
    Signature{0, "MM\0*"sv, "a TIFF image", convert},
    Signature{4, "ftypheic"sv, "a HEIC image", convert},
    Signature{4, "ftypheix"sv, "a HEIC image", convert},
    Signature{4, "ftypmif1"sv, "a HEIF image", convert},
    Signature{4, "ftypavif"sv, "an AVIF image", convert},
    Signature{0, "\0\0\0\x0CjP  "sv, "a JPEG 2000 image", convert},
    Signature{0, "\xFF\x0A"sv, "a JPEG XL image", convert},
    Signature{0, "8BPS"sv, "a Photoshop image", convert},
    Signature{0, "%PDF"sv, "a PDF document", ""},
    Signature{0, "\x93NUMPY"sv, "a NumPy array (.npy)", ""},
    Signature{0, "\x89HDF\r\n\x1a\n"sv, "an HDF5 file, as Keras and MATLAB write them", ""},
    Signature{0, "GGUF"sv, "a GGUF file: weights without the network's code", ""},
    Signature{4, "TFL3"sv, "a TensorFlow Lite model", ""},
    Signature{0, "PK\x03\x04"sv, "a zip archive", unpack},
    Signature{0, "\x1F\x8B"sv, "compressed with gzip", unpack},
    Signature{0, "BZh"sv, "compressed with bzip2", unpack},
    Signature{0,
              "\xFD"
              "7zXZ"sv,
              "compressed with xz", unpack},
    Signature{0, "\x28\xB5\x2F\xFD"sv, "compressed with zstd", unpack},
    Signature{0, "7z\xBC\xAF"sv, "a 7z archive", unpack},
    Signature{0, "Rar!"sv, "a RAR archive", unpack},
    Signature{257, "ustar"sv, "a tar archive", unpack},
    Signature{0, "PAR1"sv, "a Parquet file", ""},
    Signature{0, "ARROW1"sv, "an Arrow file", ""},
    Signature{0, "SQLite format 3"sv, "an SQLite database", ""},
    Signature{0, "MATLAB 5.0"sv, "a MATLAB file", ""},
    Signature{0,
              "\x7F"
              "ELF"sv,
              "a program or a shared library", ""},
};

/// Zip archives that are files of their own, by what they begin with.
std::optional<FileKind> known_archive(const Signature& signature, std::string_view start) {
  if (!signature.bytes.starts_with("PK")) return std::nullopt;
  if (start.find("/data.pkl") != std::string_view::npos)
    return FileKind{"a file that PyTorch saved",
                    "store tensors with numpy.save or as safetensors, networks as TorchScript",
                    true};
  if (start.find(".npy") != std::string_view::npos)
    return FileKind{"an .npz archive of NumPy arrays", "store each with numpy.save", true};
  return std::nullopt;
}

/// Eight bytes that say how long the JSON that follows is.
bool is_safetensors(std::string_view start) {
  if (start.size() < 10 || start[8] != '{') return false;
  std::uint64_t length = 0;
  for (std::size_t i = 8; i-- > 0;) length = length << 8 | static_cast<unsigned char>(start[i]);
  return length >= 2 && length <= 100'000'000;
}

/// Protocol Buffers of a model: the version, then the name of what wrote it.
bool is_onnx(std::string_view start) {
  return start.size() > 4 && start[0] == '\x08' && start[1] > 0 && start[1] < 16 &&
         (start[2] == '\x12' || start[2] == '\x1A' || start[2] == '\x3A');
}

bool is_text(std::string_view start) {
  return std::none_of(start.begin(), start.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte < 9 || (byte > 13 && byte < 32 && byte != 27);
  });
}

FileKind text_kind(std::string_view start) {
  if (start.substr(0, 3) == "\xEF\xBB\xBF") start.remove_prefix(3);
  const auto first = start.find_first_not_of(" \t\r\n");
  std::string lower(start.substr(std::min(first, start.size())));
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (lower.starts_with("<!doctype html") || lower.starts_with("<html"))
    return {"a web page, such as that of a login or an error", "download the file again"};
  if (lower.starts_with("<svg")) return {"an SVG drawing", convert};
  if (lower.starts_with("<?xml") || lower.starts_with("<error"))
    return {"an XML document, such as a server's error", "download the file again"};
  if (lower.starts_with("{") || lower.starts_with("[")) return {"JSON text", ""};
  return {"a text file", ""};
}

}  // namespace

std::string FileKind::text() const {
  return "it is " + what + (remedy.empty() ? "" : "; " + remedy);
}

std::optional<FileKind> file_kind(std::string_view start) {
  if (start.empty()) return FileKind{"empty", "copy or download it again"};
  // First: the length that it begins with may look like another's signature.
  if (is_safetensors(start)) return FileKind{"a safetensors file: tensors without a network", ""};
  for (const Signature& signature : signatures) {
    if (start.size() >= signature.offset &&
        start.substr(signature.offset).starts_with(signature.bytes)) {
      if (const auto known = known_archive(signature, start)) return known;
      return FileKind{signature.what, signature.remedy, signature.bytes.starts_with("PK")};
    }
  }
  if (start.size() > 1 && start[0] == '\x80' && start[1] >= 2 && start[1] <= 5)
    return FileKind{"a Python pickle", ""};
  if (is_onnx(start)) return FileKind{"an ONNX model", ""};
  if (is_text(start)) return text_kind(start);
  return std::nullopt;
}

std::optional<FileKind> file_kind_at(const fs::path& path) {
  std::error_code code;
  if (fs::is_directory(path, code)) return FileKind{"a folder", ""};
  if (!fs::exists(path, code)) {
    const fs::path target = fs::read_symlink(path, code);
    if (code) return std::nullopt;
    if (target.string().find("annex/objects/") != std::string::npos)
      return FileKind{"a git-annex link to content that is not here",
                      "fetch it with git annex get"};
    return FileKind{"a link to " + target.string() + ", which does not exist", ""};
  }
  std::ifstream stream(path, std::ios::binary);
  if (!stream) return FileKind{"not readable for this user", "see its permissions"};
  std::string start(kind_bytes, '\0');
  stream.read(start.data(), static_cast<std::streamsize>(start.size()));
  start.resize(static_cast<std::size_t>(stream.gcount()));
  return file_kind(start);
}

std::string kind_remark(const fs::path& path) {
  const std::optional<FileKind> kind = file_kind_at(path);
  return kind ? "; " + kind->text() : "";
}

}  // namespace microtome::host
