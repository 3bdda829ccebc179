#include "host/data/line_file.h"

#include <fstream>
#include <string_view>
#include <unordered_map>

#include "host/support/file_kind.h"
#include "microtome/error.h"

namespace microtome::host {

std::vector<TextLine> read_lines(const std::filesystem::path& file, const std::string& what) {
  std::ifstream stream(file, std::ios::binary);
  const auto refuse = [&](const std::string& why) {
    return Error(what + " " + file.string() + " can't be read" + why);
  };
  if (!stream || std::filesystem::is_directory(file)) throw refuse(kind_remark(file));
  std::vector<TextLine> lines;
  for (std::string line; std::getline(stream, line);) {
    if (lines.empty()) {
      if (line.starts_with("\xEF\xBB\xBF")) line.erase(0, 3);
      if (line.starts_with("\xFF\xFE") || line.starts_with("\xFE\xFF"))
        throw refuse(": it is UTF-16; save it as UTF-8");
      if (line.starts_with("version https://git-lfs") || line.starts_with("/annex/objects/"))
        throw refuse(kind_remark(file));
    }
    constexpr const char* blanks = " \t\r\v\f";
    const auto first = line.find_first_not_of(blanks);
    const auto last = line.find_last_not_of(blanks);
    lines.push_back(
        {first == std::string::npos ? std::string() : line.substr(first, last + 1 - first),
         static_cast<int>(lines.size()) + 1});
  }
  while (!lines.empty() && lines.back().text.empty()) lines.pop_back();
  return lines;
}

void refuse_repetitions(const std::vector<TextLine>& lines, const std::filesystem::path& file,
                        const std::string& what) {
  std::unordered_map<std::string_view, int> seen;
  for (const TextLine& line : lines) {
    const auto [known, is_new] = seen.emplace(line.text, line.number);
    if (!is_new) {
      throw Error(what + " " + file.string() + " has \"" + line.text + "\" in line " +
                  std::to_string(known->second) + " and again in line " +
                  std::to_string(line.number));
    }
  }
}

}  // namespace microtome::host
