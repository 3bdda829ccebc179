#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "microtome/tensor.h"

namespace microtome::host {

/// A tensor in a safetensors file.
struct StoredTensor {
  std::string name;
  at::ScalarType type = at::kFloat;  ///< as it is read; nothing is lost by that
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0, end = 0;  ///< bytes from the start of the file
  std::string stored_type = {};      ///< as the file calls it, where that is another
  bool is_readable = true;           ///< false for types that LibTorch does not have
};

/// The tensors of a file, those of types that can't be read among them. Throws `Error` naming the
/// file when it is damaged or of another format.
std::vector<StoredTensor> read_tensor_list(const std::filesystem::path& file);
/// Throws `Error` naming the tensor, its type and the remedy when it can't be read.
void demand_readable(const std::filesystem::path& file, const StoredTensor& tensor);
/// Rows [first, last) of a tensor; the whole tensor when `last` is -1. Unsigned integers are read
/// into the next wider type; `Error` for one of 64 bits that does not fit into int64.
at::Tensor read_tensor(const std::filesystem::path& file, const StoredTensor& tensor,
                       std::int64_t first = 0, std::int64_t last = -1);
/// A file that is whole.
struct StoredFile {
  StoredTensor tensor;
  std::uint64_t bytes = 0;
  std::string hash;  ///< of all of it
};

/// Writes one tensor to a file of its own that can grow by rows: a header of 4 KiB, more for a
/// long name, is filled in at the end. Small ones stay in memory until then, so that a run of many
/// stages does not keep many files open.
class TensorFileWriter {
 public:
  TensorFileWriter(std::filesystem::path file, std::string name);
  /// Rows must agree with those before in type and in shape after the first dimension.
  void append(const at::Tensor& rows);
  /// Writes a tensor of any rank, once.
  void write_whole(const at::Tensor& value);
  /// Fills in the header. Throws `Error` when anything could not be written (disk full).
  StoredFile finish();

 private:
  void write_bytes(const at::Tensor& value);
  std::string header() const;
  std::filesystem::path file_;
  std::string name_;
  std::size_t header_size_ = 0;
  std::string waiting_;  ///< what is not in the file yet; nothing once that is open
  std::ofstream stream_;
  bool started_ = false;
  at::ScalarType type_ = at::kFloat;
  std::vector<std::int64_t> shape_;
  std::uint64_t bytes_ = 0;
};

}  // namespace microtome::host
