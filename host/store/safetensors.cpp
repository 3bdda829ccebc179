#include "host/store/safetensors.h"

#include <array>
#include <cstring>
#include <utility>

#include "host/support/hash.h"
#include "microtome/value.h"

namespace microtome::host {
namespace {

constexpr std::size_t header_size = 4096;
constexpr std::size_t most_waiting = 1 << 16;

constexpr std::array<std::pair<const char*, at::ScalarType>, 9> types = {{{"F32", at::kFloat},
                                                                          {"F64", at::kDouble},
                                                                          {"F16", at::kHalf},
                                                                          {"BF16", at::kBFloat16},
                                                                          {"I64", at::kLong},
                                                                          {"I32", at::kInt},
                                                                          {"I16", at::kShort},
                                                                          {"U8", at::kByte},
                                                                          {"BOOL", at::kBool}}};

const char* name_of(at::ScalarType type) {
  for (const auto& [name, scalar] : types) {
    if (scalar == type) return name;
  }
  throw Error(std::string("tensors of type ") + c10::toString(type) + " can't be stored");
}

std::uint64_t bytes_of(const StoredTensor& tensor) {
  std::uint64_t bytes = c10::elementSize(tensor.type);
  for (const std::int64_t size : tensor.shape) {
    if (size < 0 ||
        (size > 0 && bytes > (std::uint64_t{1} << 50) / static_cast<std::uint64_t>(size)))
      throw Error("a shape is impossible");
    bytes *= static_cast<std::uint64_t>(size);
  }
  return bytes;
}

}  // namespace

std::vector<StoredTensor> read_tensor_list(const std::filesystem::path& file) {
  const auto fail = [&](const std::string& why) {
    return Error("the file " + file.string() + " can't be read as safetensors: " + why);
  };
  std::ifstream stream(file, std::ios::binary);
  if (!stream) throw fail("it can't be opened");
  const std::uint64_t size = std::filesystem::file_size(file);
  std::uint64_t length = 0;
  if (!stream.read(reinterpret_cast<char*>(&length), 8) || length > size - 8 ||
      length > 100'000'000)
    throw fail("it has no header");
  std::string text(length, ' ');
  stream.read(text.data(), static_cast<std::streamsize>(length));
  std::vector<StoredTensor> tensors;
  try {
    const Value header = from_json(text);
    for (const auto& entry : header.as_map()) {
      if (entry.key == "__metadata__") continue;
      StoredTensor tensor;
      tensor.name = entry.key;
      const std::string& type = entry.value.at("dtype").as_string();
      bool known = false;
      for (const auto& [name, scalar] : types) {
        if (type == name) {
          tensor.type = scalar;
          known = true;
        }
      }
      if (!known) throw Error("the type " + type + " is not supported");
      for (const Value& part : entry.value.at("shape").as_list())
        tensor.shape.push_back(part.as_integer());
      const auto& offsets = entry.value.at("data_offsets").as_list();
      if (offsets.size() != 2 || offsets[0].as_integer() < 0)
        throw Error("data_offsets are damaged");
      tensor.begin = 8 + length + static_cast<std::uint64_t>(offsets[0].as_integer());
      tensor.end = 8 + length + static_cast<std::uint64_t>(offsets[1].as_integer());
      if (tensor.end > size || tensor.end < tensor.begin ||
          tensor.end - tensor.begin != bytes_of(tensor)) {
        throw Error("the tensor \"" + tensor.name +
                    "\" does not lie in the file; it is cut off or damaged");
      }
      tensors.push_back(std::move(tensor));
    }
  } catch (const Error& error) {
    throw fail(error.what());
  }
  return tensors;
}

at::Tensor read_tensor(const std::filesystem::path& file, const StoredTensor& tensor,
                       std::int64_t first, std::int64_t last) {
  std::vector<std::int64_t> shape = tensor.shape;
  std::uint64_t begin = tensor.begin, bytes = tensor.end - tensor.begin;
  if (last >= 0) {
    if (shape.empty() || first < 0 || last < first || last > shape[0])
      throw Error("rows " + std::to_string(first) + " to " + std::to_string(last) + " of \"" +
                  tensor.name + "\" do not exist");
    const std::uint64_t row = shape[0] == 0 ? 0 : bytes / static_cast<std::uint64_t>(shape[0]);
    begin += row * static_cast<std::uint64_t>(first);
    bytes = row * static_cast<std::uint64_t>(last - first);
    shape[0] = last - first;
  }
  at::Tensor value = at::empty(shape, tensor.type);
  std::ifstream stream(file, std::ios::binary);
  stream.seekg(static_cast<std::streamoff>(begin));
  if (bytes > 0 &&
      !stream.read(static_cast<char*>(value.data_ptr()), static_cast<std::streamsize>(bytes))) {
    throw Error("the file " + file.string() + " is cut off");
  }
  return value;
}

at::Tensor read_npy(const std::filesystem::path& file) {
  const auto fail = [&](const std::string& why) {
    return Error("the file " + file.string() + " can't be read as .npy: " + why);
  };
  std::ifstream stream(file, std::ios::binary);
  std::array<char, 10> start{};
  if (!stream.read(start.data(), 10) || std::memcmp(start.data(), "\x93NUMPY", 6) != 0)
    throw fail("it is no .npy file");
  std::uint32_t length =
      static_cast<unsigned char>(start[8]) + 256U * static_cast<unsigned char>(start[9]);
  if (start[6] >= 2) {
    std::array<char, 2> more{};
    stream.read(more.data(), 2);
    length +=
        (static_cast<unsigned char>(more[0]) << 16U) + (static_cast<unsigned char>(more[1]) << 24U);
  }
  if (length > 1'000'000) throw fail("its header is damaged");
  std::string header(length, ' ');
  if (!stream.read(header.data(), length)) throw fail("it is cut off");
  const auto value_after = [&](const std::string& key) {
    const auto at = header.find("'" + key + "'");
    if (at == std::string::npos) throw fail("its header lacks " + key);
    return header.substr(header.find(':', at) + 1);
  };
  if (value_after("fortran_order").find("True") < value_after("fortran_order").find("False"))
    throw fail("its order is Fortran's; save it with numpy.ascontiguousarray");
  const std::string description = value_after("descr");
  const auto quote = description.find('\'');
  const std::string type =
      description.substr(quote + 1, description.find('\'', quote + 1) - quote - 1);
  constexpr std::array<std::pair<const char*, at::ScalarType>, 8> known = {{{"<f4", at::kFloat},
                                                                            {"<f8", at::kDouble},
                                                                            {"<f2", at::kHalf},
                                                                            {"<i8", at::kLong},
                                                                            {"<i4", at::kInt},
                                                                            {"<i2", at::kShort},
                                                                            {"|u1", at::kByte},
                                                                            {"|b1", at::kBool}}};
  StoredTensor tensor{"npy", at::kFloat, {}, 0, 0};
  bool found = false;
  for (const auto& [name, scalar] : known) {
    if (type == name) {
      tensor.type = scalar;
      found = true;
    }
  }
  if (!found) throw fail("the type " + type + " is not supported");
  const std::string shape = value_after("shape");
  const std::string inside =
      shape.substr(shape.find('(') + 1, shape.find(')') - shape.find('(') - 1);
  for (std::size_t at = 0; at < inside.size();) {
    const std::size_t comma = std::min(inside.find(',', at), inside.size());
    const std::string number = inside.substr(at, comma - at);
    if (number.find_first_of("0123456789") != std::string::npos)
      tensor.shape.push_back(std::stoll(number));
    at = comma + 1;
  }
  tensor.begin = static_cast<std::uint64_t>(stream.tellg());
  tensor.end = tensor.begin + bytes_of(tensor);
  if (tensor.end > std::filesystem::file_size(file)) throw fail("it is cut off");
  return read_tensor(file, tensor);
}

TensorFileWriter::TensorFileWriter(std::filesystem::path file, std::string name)
    : file_(std::move(file)), name_(std::move(name)) {}

void TensorFileWriter::append(const at::Tensor& rows) {
  if (rows.dim() == 0) throw Error("\"" + name_ + "\": rows have a first dimension");
  if (!started_) {
    started_ = true;
    type_ = rows.scalar_type();
    shape_ = rows.sizes().vec();
    shape_[0] = 0;
  }
  if (rows.scalar_type() != type_ || rows.sizes().slice(1) != at::IntArrayRef(shape_).slice(1)) {
    std::ostringstream message;
    message << "\"" << name_ << "\": rows of shape " << rows.sizes()
            << " do not fit to those before, of shape " << at::IntArrayRef(shape_);
    throw Error(message.str());
  }
  write_bytes(rows);
  shape_[0] += rows.size(0);
}

void TensorFileWriter::write_whole(const at::Tensor& value) {
  if (started_) throw Error("\"" + name_ + "\" is written twice");
  started_ = true;
  type_ = value.scalar_type();
  shape_ = value.sizes().vec();
  write_bytes(value);
}

void TensorFileWriter::write_bytes(const at::Tensor& value) {
  const at::Tensor plain = value.detach().cpu().contiguous();
  bytes_ += plain.nbytes();
  const auto* data = static_cast<const char*>(plain.data_ptr());
  if (!stream_.is_open()) {
    if (waiting_.size() + plain.nbytes() <= most_waiting) {
      waiting_.append(data, plain.nbytes());
      return;
    }
    stream_.open(file_, std::ios::binary);
    const std::string padding(8 + header_size, ' ');
    stream_.write(padding.data(), static_cast<std::streamsize>(padding.size()));
    stream_.write(waiting_.data(), static_cast<std::streamsize>(waiting_.size()));
    waiting_ = {};
  }
  stream_.write(data, static_cast<std::streamsize>(plain.nbytes()));
}

std::string TensorFileWriter::header() const {
  Value entry;
  entry.set("dtype", name_of(type_));
  Value shape = Value::list();
  for (const std::int64_t size : shape_) shape.push_back(size);
  entry.set("shape", std::move(shape));
  Value offsets = Value::list();
  offsets.push_back(0);
  offsets.push_back(static_cast<std::int64_t>(bytes_));
  entry.set("data_offsets", std::move(offsets));
  Value header;
  header.set(name_, std::move(entry));
  std::string text = to_json(header);
  text.resize(header_size, ' ');
  const std::uint64_t length = header_size;
  return std::string(reinterpret_cast<const char*>(&length), 8) + text;
}

StoredFile TensorFileWriter::finish() {
  std::string start = header(), hash;
  const bool was_waiting = !stream_.is_open();
  if (was_waiting) {
    stream_.open(file_, std::ios::binary);
    start += waiting_;
    hash = hash_text(start);
    waiting_ = {};
  }
  stream_.seekp(0);
  stream_.write(start.data(), static_cast<std::streamsize>(start.size()));
  stream_.close();
  if (!stream_)
    throw Error("the file " + file_.string() + " could not be written; is the disk full?");
  const std::uint64_t begin = 8 + header_size, end = begin + bytes_;
  return {{name_, type_, shape_, begin, end}, end, was_waiting ? hash : hash_file(file_)};
}

}  // namespace microtome::host
