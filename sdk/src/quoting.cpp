#include "microtome/quoting.h"

#include <algorithm>

namespace microtome {
namespace {

constexpr std::string_view reserved = "@:/|,()[]'\"";

std::string quoted_segment(std::string_view segment) {
  if (!needs_quotes(segment)) return std::string(segment);
  std::string text = "'";
  for (const char c : segment) text += c == '\'' ? std::string("''") : std::string(1, c);
  return text + "'";
}

}  // namespace

bool needs_quotes(std::string_view path) {
  return std::any_of(path.begin(), path.end(), [](char c) {
    return static_cast<unsigned char>(c) <= ' ' || c == '\x7F' ||
           reserved.find(c) != std::string_view::npos;
  });
}

std::string quoted_path(std::string_view path) {
  std::string text;
  for (std::size_t from = 0;;) {
    const std::size_t dot = std::min(path.find('.', from), path.size());
    text += quoted_segment(path.substr(from, dot - from));
    if (dot == path.size()) return text;
    text += '.';
    from = dot + 1;
  }
}

std::size_t end_of_quoted(std::string_view text, std::size_t open) {
  constexpr std::string_view before_names = " .,=([|";
  if (open >= text.size() || text[open] != '\'') return open;
  if (open > 0 && before_names.find(text[open - 1]) == std::string_view::npos) return open;
  for (std::size_t i = open + 1; i < text.size(); ++i) {
    if (text[i] != '\'') continue;
    if (i + 1 == text.size() || text[i + 1] != '\'') return i + 1;
    ++i;
  }
  return open;
}

std::size_t find_outside(std::string_view text, std::string_view stops, std::size_t from) {
  int depth = 0;
  for (std::size_t i = from; i < text.size();) {
    if (const std::size_t end = end_of_quoted(text, i); end != i) {
      i = end;
      continue;
    }
    if (depth == 0 && stops.find(text[i]) != std::string_view::npos) return i;
    if (text[i] == '[' || text[i] == '(') ++depth;
    if (text[i] == ']' || text[i] == ')') --depth;
    ++i;
  }
  return text.size();
}

}  // namespace microtome
