#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace microtome::host {

/// The images below a folder, and what else lies there.
struct FolderListing {
  /// Paths below the folder as they stand there: links are read through, never resolved. In the
  /// order of their bytes.
  std::vector<std::string> images;
  /// The folder's own folders, in the order of their bytes; also those without an image.
  std::vector<std::string> folders;
  /// Sentences on what is left out and why, and on files that are there more than once by links.
  std::vector<std::string> remarks;
};

/// Lists files with the ending .jpg, .jpeg, .jpe, .jfif or .png, in capitals too. Left out are
/// other files, hidden ones and those that systems put there, links that lead nowhere or back to a
/// folder above, and what this user may not read. Throws `Error` naming the folder when it does not
/// exist.
FolderListing list_images(const std::filesystem::path& folder);

/// `"a", "b" and 3 more`.
std::string some_of(const std::vector<std::string>& names);

}  // namespace microtome::host
