#include "host/store/store.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>

#include "host/store/artifact_folder.h"

namespace microtome::host {

namespace fs = std::filesystem;

Store::Store(fs::path root) : root_(std::move(root)) {
  std::error_code code;
  fs::create_directories(root_ / "temporary", code);
  if (code)
    throw Error("the store " + root_.string() + " can't be made: " + code.message() +
                "; choose another with --store");
}

fs::path Store::default_root() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && *cache != 0)
    return fs::path(cache) / "microtome";
  if (const char* home = std::getenv("HOME"); home != nullptr && *home != 0)
    return fs::path(home) / ".cache" / "microtome";
  return fs::temp_directory_path() / "microtome";
}

fs::path Store::folder_of(const std::string& key) const { return root_ / key.substr(0, 2) / key; }

std::optional<fs::path> Store::find(const std::string& key,
                                    const std::vector<std::string>& outputs) const {
  const fs::path folder = folder_of(key);
  std::error_code code;
  if (!fs::is_directory(folder, code)) return std::nullopt;
  try {
    bool whole = true;
    for (const std::string& output : outputs)
      whole = whole && ArtifactFolderReader(folder / output).is_whole();
    if (whole) return folder;
  } catch (const Error&) {
    // Treated as absent, below.
  }
  fs::rename(folder, new_temporary() / "damaged", code);
  return std::nullopt;
}

fs::path Store::new_temporary() const {
  std::string name = (root_ / "temporary" / (std::to_string(getpid()) + "-XXXXXX")).string();
  if (mkdtemp(name.data()) == nullptr)
    throw Error("no folder can be made in the store " + root_.string());
  return name;
}

fs::path Store::commit(const fs::path& temporary, const std::string& key) const {
  for (const auto& entry : fs::recursive_directory_iterator(temporary)) {
    if (entry.is_regular_file())
      fs::permissions(entry.path(),
                      fs::perms::owner_read | fs::perms::group_read | fs::perms::others_read);
  }
  const fs::path folder = folder_of(key);
  fs::create_directories(folder.parent_path());
  std::error_code code;
  fs::rename(temporary, folder, code);
  if (!code) return folder;
  // `--fresh` computes again what is there: the new result takes its place.
  fs::rename(folder, new_temporary() / "replaced", code);
  fs::rename(temporary, folder, code);
  if (code && !fs::is_directory(folder))
    throw Error("the result could not be moved to " + folder.string() + ": " + code.message());
  return folder;
}

void Store::sweep() const {
  std::error_code code;
  for (const auto& entry : fs::directory_iterator(root_ / "temporary", code)) {
    const long process = std::atol(entry.path().filename().c_str());
    if (process <= 0) continue;
    if (process == getpid() || (kill(static_cast<pid_t>(process), 0) != 0 && errno == ESRCH))
      fs::remove_all(entry.path(), code);
  }
}

void Store::sync() const {
  const int descriptor = open(root_.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return;
  syncfs(descriptor);
  close(descriptor);
}

}  // namespace microtome::host
