#include "host/data/folder_listing.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <string_view>
#include <utility>

#include "host/support/file_kind.h"
#include "microtome/error.h"

namespace microtome::host {
namespace {

namespace fs = std::filesystem;

/// A file or folder, whatever links lead to it.
using Identity = std::pair<dev_t, ino_t>;

constexpr std::array<std::string_view, 5> image_endings = {".jpg", ".jpeg", ".jpe", ".jfif",
                                                           ".png"};
/// What operating systems and archives put into folders.
constexpr std::array<std::string_view, 9> system_names = {
    "__MACOSX",    "Thumbs.db",   "ehthumbs.db",
    "desktop.ini", "Desktop.ini", "$RECYCLE.BIN",
    "lost+found",  "@eaDir",      "System Volume Information"};

template <class List, class Item>
bool is_among(const List& list, const Item& item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

bool is_hidden(const std::string& name) {
  return name.starts_with(".") || is_among(system_names, name);
}

std::string lower_ending(const fs::path& file) {
  std::string ending = file.extension().string();
  std::transform(ending.begin(), ending.end(), ending.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return ending;
}

std::string counted(std::size_t count, const char* one, const char* many) {
  return std::to_string(count) + " " + (count == 1 ? one : many);
}

class Walk {
 public:
  explicit Walk(const fs::path& folder) : root_(folder) {}

  FolderListing run() {
    struct stat about {};
    if (stat(root_.c_str(), &about) != 0 || !S_ISDIR(about.st_mode))
      throw Error("the folder " + root_.string() + " does not exist" + kind_remark(root_));
    above_.push_back({about.st_dev, about.st_ino});
    enter("");
    FolderListing listing;
    std::sort(images_.begin(), images_.end());
    std::sort(folders_.begin(), folders_.end());
    for (const auto& image : images_) listing.images.push_back(image.first);
    listing.folders = std::move(folders_);
    say_files(listing.remarks);
    say_folders(listing.remarks);
    say_twice(listing.remarks);
    return listing;
  }

 private:
  void enter(const std::string& prefix) {
    std::error_code code;
    fs::directory_iterator entries(root_ / prefix, code);
    if (code) {
      closed_folders_.push_back(prefix.empty() ? root_.string() : prefix);
      return;
    }
    for (const fs::directory_entry& entry : entries) take(prefix, entry.path().filename().string());
  }

  void take(const std::string& prefix, const std::string& name) {
    const std::string path = prefix.empty() ? name : prefix + "/" + name;
    const fs::path file = root_ / path;
    struct stat about {};
    const bool is_there = stat(file.c_str(), &about) == 0;
    if (is_hidden(name)) {
      (is_there && S_ISDIR(about.st_mode) ? hidden_folders_ : hidden_).push_back(path);
    } else if (!is_there) {
      broken_.push_back(path);
    } else if (S_ISDIR(about.st_mode)) {
      take_folder(path, {about.st_dev, about.st_ino});
    } else if (!S_ISREG(about.st_mode)) {
      others_[""].push_back(path);
    } else if (const std::string ending = lower_ending(file); !is_among(image_endings, ending)) {
      others_[ending].push_back(path);
    } else if (access(file.c_str(), R_OK) != 0) {
      closed_.push_back(path);
    } else {
      images_.emplace_back(path, Identity{about.st_dev, about.st_ino});
    }
  }

  void take_folder(const std::string& path, const Identity& identity) {
    if (is_among(above_, identity)) {
      circles_.push_back(path);
      return;
    }
    if (path.find('/') == std::string::npos) folders_.push_back(path);
    above_.push_back(identity);
    enter(path);
    above_.pop_back();
  }

  void say_files(std::vector<std::string>& remarks) {
    std::size_t left_out = hidden_.size() + broken_.size() + closed_.size();
    std::vector<std::string> reasons, other_files, endings;
    for (const auto& [ending, files] : others_) {
      left_out += files.size();
      other_files.insert(other_files.end(), files.begin(), files.end());
      if (!ending.empty()) endings.push_back(ending);
    }
    if (left_out == 0) return;
    if (!other_files.empty()) {
      std::string named = endings.empty() ? some_of(other_files) : some_of(endings);
      reasons.push_back(counted(other_files.size(), "is", "are") + " not JPEG or PNG (" + named +
                        ")");
    }
    const auto reason = [&](const std::vector<std::string>& files, const char* one,
                            const char* many) {
      if (!files.empty())
        reasons.push_back(counted(files.size(), one, many) + " (" + some_of(files) + ")");
    };
    reason(hidden_, "is hidden", "are hidden");
    reason(broken_, "is a link that leads nowhere", "are links that lead nowhere");
    reason(closed_, "is not readable for this user", "are not readable for this user");
    std::string text = std::to_string(left_out) + " of " +
                       counted(left_out + images_.size(), "file", "files") +
                       (left_out == 1 ? " is left out: " : " are left out: ");
    for (std::size_t i = 0; i < reasons.size(); ++i) text += (i == 0 ? "" : ", ") + reasons[i];
    remarks.push_back(std::move(text));
  }

  void say_folders(std::vector<std::string>& remarks) {
    const auto say = [&](const std::vector<std::string>& folders, const char* one,
                         const char* many) {
      if (!folders.empty())
        remarks.push_back(counted(folders.size(), one, many) + " (" + some_of(folders) + ")");
    };
    say(hidden_folders_, "hidden folder is left out with what it holds",
        "hidden folders are left out with what they hold");
    say(circles_, "link back to a folder above it is left out",
        "links back to folders above them are left out");
    say(closed_folders_, "folder is left out, as this user can't open it",
        "folders are left out, as this user can't open them");
  }

  /// By links and hard links; images that are equal by chance or as copies are not looked for.
  void say_twice(std::vector<std::string>& remarks) {
    std::map<Identity, const std::string*> first;
    std::size_t count = 0, in_other_class = 0;
    std::string example;
    const auto class_of = [](const std::string& path) { return path.substr(0, path.find('/')); };
    for (const auto& [path, identity] : images_) {
      const auto [known, is_new] = first.emplace(identity, &path);
      if (is_new) continue;
      ++count;
      const bool other = class_of(path) != class_of(*known->second);
      if (other && in_other_class++ == 0) example.clear();
      if (example.empty()) example = "\"" + *known->second + "\" and \"" + path + "\"";
    }
    if (count == 0) return;
    remarks.push_back(counted(count, "image is", "images are") +
                      " there more than once, by links: " + example + " are one file" +
                      (in_other_class > 0 ? "; " + counted(in_other_class, "stands", "stand") +
                                                " in another folder too"
                                          : ""));
  }

  fs::path root_;
  std::vector<Identity> above_;  ///< the folders that the walk is in
  std::vector<std::pair<std::string, Identity>> images_;
  std::vector<std::string> folders_;
  std::map<std::string, std::vector<std::string>> others_;  ///< by ending
  std::vector<std::string> hidden_, broken_, closed_;
  std::vector<std::string> hidden_folders_, circles_, closed_folders_;
};

}  // namespace

FolderListing list_images(const fs::path& folder) { return Walk(folder).run(); }

std::string some_of(const std::vector<std::string>& names) {
  constexpr std::size_t most = 3;
  std::vector<std::string> sorted = names;
  std::sort(sorted.begin(), sorted.end());
  std::string text;
  const std::size_t shown = names.size() <= most + 1 ? names.size() : most;
  for (std::size_t i = 0; i < shown; ++i) text += (i == 0 ? "" : ", ") + sorted[i];
  if (shown < names.size()) text += " and " + std::to_string(names.size() - shown) + " more";
  return text;
}

}  // namespace microtome::host
