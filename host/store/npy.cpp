#include "host/store/npy.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <optional>
#include <string_view>
#include <vector>

#include "host/store/unsigned_integers.h"
#include "host/support/file_kind.h"
#include "microtome/error.h"

namespace microtome::host {
namespace {

/// A type by its code without the byte order.
struct NumpyType {
  std::string_view code;
  at::ScalarType held;
  std::optional<UnsignedType> is_unsigned = {};
};
constexpr std::array types = {NumpyType{"f4", at::kFloat},
                              NumpyType{"f8", at::kDouble},
                              NumpyType{"f2", at::kHalf},
                              NumpyType{"i8", at::kLong},
                              NumpyType{"i4", at::kInt},
                              NumpyType{"i2", at::kShort},
                              NumpyType{"i1", at::kChar},
                              NumpyType{"u1", at::kByte},
                              NumpyType{"b1", at::kBool},
                              NumpyType{"u2", at::kShort, UnsignedType::bits16},
                              NumpyType{"u4", at::kInt, UnsignedType::bits32},
                              NumpyType{"u8", at::kLong, UnsignedType::bits64}};

/// What to do about an array of another type.
std::string remedy(const std::string& description) {
  if (description.rfind('[', 0) == 0)
    return "it is an array of records; save each of their fields as a file of its own";
  // The code stands after the byte order.
  const char code = description.size() > 1 ? description[1] : '?';
  switch (code) {
    case 'O':
      return "it holds Python objects, such as lists of unequal lengths; save numbers in a "
             "rectangular array, numpy.asarray(x, dtype=numpy.float32)";
    case 'U':
    case 'S':
      return "it holds text; save numbers";
    case 'M':
    case 'm':
      return "it holds times; save them as numbers, x.astype(numpy.int64)";
    case 'c':
      return "it holds complex numbers; save their real and imaginary parts as two files";
    case 'V':
      return "it holds bytes that NumPy has no type for, such as bfloat16; save it as "
             "x.astype(numpy.float32), or as safetensors";
    default:
      return "save it as x.astype(numpy.float32), or as another of NumPy's plain types";
  }
}

class Header {
 public:
  explicit Header(std::string text) : text_(std::move(text)) {}

  /// What stands after the key, up to the end of its value.
  std::string value(const std::string& key) const {
    auto at = text_.find("'" + key + "'");
    if (at == std::string::npos) at = text_.find('"' + key + '"');
    if (at == std::string::npos) throw Error("its header lacks " + key);
    const auto begin = text_.find_first_not_of(' ', text_.find(':', at) + 1);
    int depth = 0;
    for (auto end = begin; end < text_.size(); ++end) {
      const char c = text_[end];
      if (c == '(' || c == '[') ++depth;
      if (c == ')' || c == ']') --depth;
      if (depth < 0 || (depth == 0 && (c == ',' || c == '}')))
        return text_.substr(begin, end - begin);
    }
    throw Error("its header is damaged");
  }

  std::vector<std::int64_t> shape() const {
    std::vector<std::int64_t> sizes;
    const std::string text = value("shape");
    for (std::size_t at = 0; at < text.size();) {
      const auto begin = text.find_first_of("0123456789", at);
      if (begin == std::string::npos) break;
      const auto end = std::min(text.find_first_not_of("0123456789", begin), text.size());
      if (end - begin > 15) throw Error("a shape is impossible");
      sizes.push_back(std::stoll(text.substr(begin, end - begin)));
      at = end;
    }
    return sizes;
  }

 private:
  std::string text_;
};

void swap_bytes(const at::Tensor& value) {
  const std::size_t size = value.element_size();
  auto* bytes = static_cast<char*>(value.data_ptr());
  for (std::size_t at = 0; at < value.nbytes(); at += size)
    std::reverse(bytes + at, bytes + at + size);
}

at::Tensor read(std::ifstream& stream, const std::filesystem::path& file, std::uint64_t file_size) {
  std::array<char, 10> start{};
  if (!stream.read(start.data(), 10) || std::memcmp(start.data(), "\x93NUMPY", 6) != 0) {
    const std::optional<FileKind> kind = file_kind_at(file);
    throw Error(kind ? kind->text() : "it is not a .npy file");
  }
  const auto byte = [](char c) {
    return static_cast<std::uint32_t>(static_cast<unsigned char>(c));
  };
  std::uint32_t length = byte(start[8]) + (byte(start[9]) << 8U);
  if (start[6] >= 2) {
    std::array<char, 2> more{};
    stream.read(more.data(), 2);
    length += (byte(more[0]) << 16U) + (byte(more[1]) << 24U);
  }
  if (length > 1'000'000) throw Error("its header is damaged");
  std::string text(length, ' ');
  if (!stream.read(text.data(), length)) throw Error("it is cut off");
  const Header header(std::move(text));
  std::string type = header.value("descr");
  if (type.size() > 1 && (type[0] == '\'' || type[0] == '"'))
    type = type.substr(1, type.size() - 2);
  const auto known = std::find_if(types.begin(), types.end(), [&](const NumpyType& candidate) {
    return type.size() > 1 && std::string_view(type).substr(1) == candidate.code;
  });
  if (known == types.end() || std::string_view("<>|=").find(type[0]) == std::string_view::npos)
    throw Error("its type is " + type + ": " + remedy(type));
  std::vector<std::int64_t> shape = header.shape();
  // The last index runs slowest there.
  const bool is_fortran = header.value("fortran_order").rfind("True", 0) == 0;
  if (is_fortran) std::reverse(shape.begin(), shape.end());
  std::uint64_t bytes = c10::elementSize(known->held);
  for (const std::int64_t size : shape) {
    if (size > 0 && bytes > (std::uint64_t{1} << 50) / static_cast<std::uint64_t>(size))
      throw Error("a shape is impossible");
    bytes *= static_cast<std::uint64_t>(size);
  }
  if (static_cast<std::uint64_t>(stream.tellg()) + bytes > file_size) throw Error("it is cut off");
  at::Tensor value = at::empty(shape, known->held);
  if (bytes > 0 &&
      !stream.read(static_cast<char*>(value.data_ptr()), static_cast<std::streamsize>(bytes)))
    throw Error("it is cut off");
  if (type[0] == '>' && value.element_size() > 1) swap_bytes(value);
  if (known->is_unsigned) value = widened(value, *known->is_unsigned);
  if (!is_fortran) return value;
  std::vector<std::int64_t> order(shape.size());
  for (std::size_t i = 0; i < order.size(); ++i)
    order[i] = static_cast<std::int64_t>(order.size() - 1 - i);
  return value.permute(order).contiguous();
}

}  // namespace

at::Tensor read_npy(const std::filesystem::path& file) {
  try {
    std::ifstream stream(file, std::ios::binary);
    if (!stream) throw Error("it can't be opened");
    return read(stream, file, std::filesystem::file_size(file));
  } catch (const Error& error) {
    throw Error("the file " + file.string() + " can't be read as .npy: " + error.what());
  }
}

}  // namespace microtome::host
