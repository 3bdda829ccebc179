#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace microtome::host {

/// Content-addressed results that runs share: a folder for each key, with a folder for each output.
/// Several processes may use it at once. [any number of threads]
class Store {
 public:
  explicit Store(std::filesystem::path root);
  /// `$XDG_CACHE_HOME/microtome`, or `~/.cache/microtome`.
  static std::filesystem::path default_root();

  const std::filesystem::path& root() const { return root_; }
  /// The folder of a key whose outputs are whole; nothing otherwise. A damaged one is moved away.
  std::optional<std::filesystem::path> find(const std::string& key,
                                            const std::vector<std::string>& outputs) const;
  /// A new folder that nobody else sees.
  std::filesystem::path new_temporary() const;
  /// Makes a temporary folder the result of a key, in one step. Returns its folder (another process
  /// may have been first; then that one's).
  std::filesystem::path commit(const std::filesystem::path& temporary,
                               const std::string& key) const;
  /// Removes temporary folders of processes that are gone.
  void sweep() const;
  /// Asks the file system to write everything down.
  void sync() const;

 private:
  std::filesystem::path folder_of(const std::string& key) const;
  std::filesystem::path root_;
};

}  // namespace microtome::host
