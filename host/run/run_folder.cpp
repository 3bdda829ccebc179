#include "host/run/run_folder.h"

#include <unistd.h>

#include <chrono>
#include <ctime>
#include <fstream>

#include "host/support/hash.h"
#include "microtome/error.h"

namespace microtome::host {

namespace fs = std::filesystem;

RunFolder::RunFolder(const fs::path& runs, const std::string& name) {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char time[32];
  std::strftime(time, sizeof time, "%Y%m%dT%H%M%SZ", &parts);
  std::error_code code;
  fs::create_directories(runs / name, code);
  if (code)
    throw Error("the folder " + (runs / name).string() + " can't be made: " + code.message() +
                "; choose another with --runs");
  for (int attempt = 0;; ++attempt) {
    const auto ticks = std::chrono::steady_clock::now().time_since_epoch().count();
    const std::string id = hash_text(std::to_string(getpid()) + "/" + std::to_string(ticks) + "/" +
                                     std::to_string(attempt))
                               .substr(0, 6);
    path_ = fs::absolute(runs) / name / (std::string(time) + "-" + id);
    if (fs::create_directory(path_, code)) break;
    if (attempt > 100)
      throw Error("no folder can be made in " + (runs / name).string() + ": " + code.message());
  }
  fs::create_directory(path_ / "stages");
  point_latest();
}

void RunFolder::point_latest() const {
  const fs::path latest = path_.parent_path() / "latest",
                 temporary = path_.parent_path() / (".latest-" + path_.filename().string());
  std::error_code code;
  fs::create_directory_symlink(path_.filename(), temporary, code);
  if (!code) fs::rename(temporary, latest, code);
  // A `latest` that is no link (a folder somebody made) stays; the run is whole without it.
  if (code) fs::remove(temporary, code);
}

void RunFolder::place(const fs::path& result, const fs::path& stage_folder) const {
  const fs::path to = path_ / "stages" / stage_folder;
  fs::create_directories(to);
  // Folders come before what is in them.
  for (const auto& entry : fs::recursive_directory_iterator(result)) {
    const fs::path target = to / entry.path().lexically_relative(result);
    if (entry.is_directory()) {
      fs::create_directory(target);
    } else if (entry.is_regular_file()) {
      std::error_code code;
      fs::create_hard_link(entry.path(), target, code);
      if (code) fs::copy_file(entry.path(), target, fs::copy_options::overwrite_existing);
    }
  }
}

void RunFolder::write_manifest(const Value& manifest) const {
  const fs::path temporary = path_ / "manifest.json.part";
  {
    std::ofstream stream(temporary, std::ios::binary);
    stream << to_json(manifest, 1) << '\n';
    if (!stream.flush())
      throw Error("the file " + temporary.string() + " could not be written; is the disk full?");
  }
  fs::rename(temporary, path_ / "manifest.json");
}

}  // namespace microtome::host
