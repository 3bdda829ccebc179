#pragma once

#include <filesystem>
#include <string>

#include "microtome/tensor.h"
#include "tests/support/temporary_folder.h"

namespace microtome::testing {

/// A folder with a small network (`conv`, `act`, `head`; 3 x 8 x 8 to 2 classes) and images of two
/// classes, red and green, made here.
class SmallWorld {
 public:
  explicit SmallWorld(int images_per_class = 6);
  const std::filesystem::path& path() const { return folder_.path(); }
  std::filesystem::path model() const { return path() / "net.pt"; }
  std::filesystem::path images() const { return path() / "images"; }
  /// Writes a file beside them.
  void write(const std::string& name, const std::string& content) const {
    folder_.write(name, content);
  }
  /// A pipeline over them with these stages (indented lines).
  std::string pipeline(const std::string& stages, const std::string& more = {}) const;
  /// Writes it to a file.
  std::filesystem::path write_pipeline(const std::string& stages,
                                       const std::string& more = {}) const;

 private:
  TemporaryFolder folder_;
};

/// Writes an image, 3 x H x W of 8 bit, as PNG.
void write_png(const std::filesystem::path& file, const at::Tensor& image);

}  // namespace microtome::testing
