#include "tests/support/array_files.h"

namespace microtome::testing {

std::string bytes_of(const at::Tensor& value) {
  const at::Tensor plain = value.contiguous();
  return {static_cast<const char*>(plain.data_ptr()), plain.nbytes()};
}

std::string npy_file(const std::string& description, const std::string& shape,
                     const std::string& bytes, bool fortran_order) {
  std::string header = "{'descr': " + description +
                       ", 'fortran_order': " + (fortran_order ? "True" : "False") +
                       ", 'shape': " + shape + ", }";
  header.resize((header.size() + 11 + 63) / 64 * 64 - 11, ' ');
  header += '\n';
  std::string file("\x93NUMPY\x01\x00", 8);
  file += static_cast<char>(header.size() % 256);
  file += static_cast<char>(header.size() / 256);
  return file + header + bytes;
}

std::string safetensors_file(const std::vector<FileTensor>& tensors) {
  std::string header = "{", data;
  for (const FileTensor& tensor : tensors) {
    header += (data.empty() && header.size() == 1 ? "\"" : ", \"") + tensor.name +
              "\": {\"dtype\": \"" + tensor.type + "\", \"shape\": " + tensor.shape +
              ", \"data_offsets\": [" + std::to_string(data.size()) + ", " +
              std::to_string(data.size() + tensor.bytes.size()) + "]}";
    data += tensor.bytes;
  }
  header += "}";
  std::string file;
  for (std::size_t i = 0; i < 8; ++i) file += static_cast<char>((header.size() >> (8 * i)) & 255U);
  return file + header + data;
}

}  // namespace microtome::testing
