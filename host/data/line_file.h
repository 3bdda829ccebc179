#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace microtome::host {

/// A line of a text file, without the blanks at its ends.
struct TextLine {
  std::string text;
  int number = 0;  ///< from 1
};

/// All lines of a UTF-8 file, the empty ones too, but for those at its end. A byte order mark and
/// the line ends of Windows are taken off. Throws `Error` that names `what` and the file, when it
/// can't be read or is UTF-16.
std::vector<TextLine> read_lines(const std::filesystem::path& file, const std::string& what);

/// Throws `Error` that names both lines when a text stands in two.
void refuse_repetitions(const std::vector<TextLine>& lines, const std::filesystem::path& file,
                        const std::string& what);

}  // namespace microtome::host
