#include "host/store/safetensors.h"

#include <array>
#include <optional>

#include "host/store/unsigned_integers.h"
#include "host/support/file_kind.h"
#include "host/support/hash.h"
#include "microtome/value.h"

namespace microtome::host {
namespace {

constexpr std::size_t most_waiting = 1 << 16;

/// A type of the format.
struct FileType {
  const char* name;
  std::uint64_t bytes;  ///< of one element; 0: less than one
  at::ScalarType type;  ///< as it is read
  bool is_readable = true;
};
constexpr std::array types = {FileType{"F32", 4, at::kFloat},
                              FileType{"F64", 8, at::kDouble},
                              FileType{"F16", 2, at::kHalf},
                              FileType{"BF16", 2, at::kBFloat16},
                              FileType{"I64", 8, at::kLong},
                              FileType{"I32", 4, at::kInt},
                              FileType{"I16", 2, at::kShort},
                              FileType{"I8", 1, at::kChar},
                              FileType{"U8", 1, at::kByte},
                              FileType{"BOOL", 1, at::kBool},
                              FileType{"U16", 2, at::kInt},
                              FileType{"U32", 4, at::kLong},
                              FileType{"U64", 8, at::kLong},
                              FileType{"F8_E4M3", 1, at::kFloat, false},
                              FileType{"F8_E5M2", 1, at::kFloat, false},
                              FileType{"F8_E8M0", 1, at::kFloat, false},
                              FileType{"F8_E4M3FNUZ", 1, at::kFloat, false},
                              FileType{"F8_E5M2FNUZ", 1, at::kFloat, false},
                              FileType{"C64", 8, at::kComplexFloat, false},
                              FileType{"C128", 16, at::kComplexDouble, false}};

const FileType* type_called(const std::string& name) {
  for (const FileType& type : types) {
    if (name == type.name) return &type;
  }
  return nullptr;
}

const char* name_of(at::ScalarType type) {
  for (const FileType& known : types) {
    if (known.type == type && known.is_readable) return known.name;
  }
  throw Error(std::string("tensors of type ") + c10::toString(type) + " can't be stored");
}

std::uint64_t bytes_of(const StoredTensor& tensor, std::uint64_t of_element) {
  std::uint64_t bytes = of_element;
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
  const std::optional<FileKind> kind = file_kind_at(file);
  if (kind && !kind->what.starts_with("a safetensors file")) throw fail(kind->text());
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
      const std::string& name = entry.value.at("dtype").as_string();
      const FileType* type = type_called(name);
      tensor.is_readable = type != nullptr && type->is_readable;
      if (type != nullptr) tensor.type = type->type;
      if (!tensor.is_readable || name != name_of(tensor.type)) tensor.stored_type = name;
      for (const Value& part : entry.value.at("shape").as_list())
        tensor.shape.push_back(part.as_integer());
      const auto& offsets = entry.value.at("data_offsets").as_list();
      if (offsets.size() != 2 || offsets[0].as_integer() < 0)
        throw Error("data_offsets are damaged");
      tensor.begin = 8 + length + static_cast<std::uint64_t>(offsets[0].as_integer());
      tensor.end = 8 + length + static_cast<std::uint64_t>(offsets[1].as_integer());
      // Of a type that nobody knows here, the size is not known either.
      if (tensor.end > size || tensor.end < tensor.begin ||
          (type != nullptr && tensor.end - tensor.begin != bytes_of(tensor, type->bytes))) {
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

void demand_readable(const std::filesystem::path& file, const StoredTensor& tensor) {
  if (tensor.is_readable) return;
  const bool is_complex = tensor.stored_type.rfind('C', 0) == 0;
  throw Error("the tensor \"" + tensor.name + "\" of the file " + file.string() + " is " +
              tensor.stored_type + ", which can't be read; save it " +
              (is_complex ? "as two real tensors (torch.view_as_real)"
                          : "in another type, such as tensor.to(torch.float32)"));
}

at::Tensor read_tensor(const std::filesystem::path& file, const StoredTensor& tensor,
                       std::int64_t first, std::int64_t last) {
  demand_readable(file, tensor);
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
  std::optional<UnsignedType> unsigned_type;
  if (tensor.stored_type == "U16") unsigned_type = UnsignedType::bits16;
  if (tensor.stored_type == "U32") unsigned_type = UnsignedType::bits32;
  if (tensor.stored_type == "U64") unsigned_type = UnsignedType::bits64;
  at::Tensor value = at::empty(shape, unsigned_type ? held_in(*unsigned_type) : tensor.type);
  std::ifstream stream(file, std::ios::binary);
  stream.seekg(static_cast<std::streamoff>(begin));
  if (bytes > 0 &&
      !stream.read(static_cast<char*>(value.data_ptr()), static_cast<std::streamsize>(bytes))) {
    throw Error("the file " + file.string() + " is cut off");
  }
  if (!unsigned_type) return value;
  try {
    return widened(value, *unsigned_type);
  } catch (const Error& error) {
    throw Error("the tensor \"" + tensor.name + "\" of the file " + file.string() + ": " +
                error.what());
  }
}

TensorFileWriter::TensorFileWriter(std::filesystem::path file, std::string name)
    : file_(std::move(file)), name_(std::move(name)) {
  // Room for the name, and for a shape that is not known yet.
  constexpr std::size_t page = 4096, others = 2048;
  header_size_ = (to_json(Value(name_)).size() + others + page - 1) / page * page;
}

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
    const std::string padding(8 + header_size_, ' ');
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
  if (text.size() > header_size_) throw Error("\"" + name_ + "\" has too many dimensions to store");
  text.resize(header_size_, ' ');
  const std::uint64_t length = header_size_;
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
  const std::uint64_t begin = 8 + header_size_, end = begin + bytes_;
  return {{name_, type_, shape_, begin, end}, end, was_waiting ? hash : hash_file(file_)};
}

}  // namespace microtome::host
