#pragma once

#include <filesystem>
#include <string>

#include "microtome/value.h"

namespace microtome::host {

/// The folder of one run: `runs/<name>/<UTC time>-<short id>/`, with `runs/<name>/latest` pointing
/// at it.
class RunFolder {
 public:
  RunFolder(const std::filesystem::path& runs, const std::string& name);
  const std::filesystem::path& path() const { return path_; }
  /// Puts a stage's result below `stages/`: hard links, or copies where the store is on another
  /// file system.
  void place(const std::filesystem::path& result, const std::filesystem::path& stage_folder) const;
  /// Replaces `manifest.json` in one step.
  void write_manifest(const Value& manifest) const;

 private:
  void point_latest() const;
  std::filesystem::path path_;
};

}  // namespace microtome::host
