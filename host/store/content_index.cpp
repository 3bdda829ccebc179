#include "host/store/content_index.h"

#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "host/support/hash.h"
#include "microtome/error.h"

namespace microtome::host {

ContentIndex::ContentIndex(std::filesystem::path file) : file_(std::move(file)) {
  std::ifstream stream(file_);
  std::string key, hash;
  while (stream >> key >> hash) known_[key] = hash;
}

std::string ContentIndex::hash(const std::filesystem::path& file) {
  struct stat about {};
  if (stat(file.c_str(), &about) != 0) throw Error("the file " + file.string() + " does not exist");
  const std::string key =
      std::to_string(about.st_dev) + ":" + std::to_string(about.st_ino) + ":" +
      std::to_string(about.st_size) + ":" + std::to_string(about.st_mtim.tv_sec) + "." +
      std::to_string(about.st_mtim.tv_nsec) + ":" + std::to_string(about.st_ctim.tv_sec) + "." +
      std::to_string(about.st_ctim.tv_nsec);
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = known_.find(key); found != known_.end()) return found->second;
  }
  const std::string hash = hash_file(file);
  const std::lock_guard lock(mutex_);
  known_[key] = hash;
  changed_ = true;
  return hash;
}

void ContentIndex::save() const {
  const std::lock_guard lock(mutex_);
  if (!changed_ || file_.empty()) return;
  std::error_code code;
  std::filesystem::create_directories(file_.parent_path(), code);
  const std::filesystem::path temporary = file_.string() + "." + std::to_string(getpid());
  {
    std::ofstream stream(temporary);
    for (const auto& [key, hash] : known_) stream << key << ' ' << hash << '\n';
    if (!stream.flush()) return;
  }
  std::filesystem::rename(temporary, file_, code);
}

}  // namespace microtome::host
