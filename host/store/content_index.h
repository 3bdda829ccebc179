#pragma once

#include <filesystem>
#include <map>
#include <mutex>
#include <string>

namespace microtome::host {

/// Hashes of files, remembered by device, inode, size and time of change, so that a dataset is read
/// once for its hash. [any number of threads]
class ContentIndex {
 public:
  /// `file`: where hashes are kept between runs; empty: nowhere.
  explicit ContentIndex(std::filesystem::path file);
  /// Hash of a file's content. Throws `Error` naming the file.
  std::string hash(const std::filesystem::path& file);
  /// Writes what is new. Failing to is no error: the index only saves time.
  void save() const;

 private:
  std::filesystem::path file_;
  mutable std::mutex mutex_;
  std::map<std::string, std::string> known_;
  bool changed_ = false;
};

}  // namespace microtome::host
