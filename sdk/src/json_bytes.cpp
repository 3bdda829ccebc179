#include "json_bytes.h"

#include <charconv>

#include "microtome/utf8.h"

namespace microtome::json_bytes {
namespace {

/// A code point that no text has: Unicode keeps it for use inside programs. Where a text has it
/// nevertheless, it stands as the mark of byte 0, which is UTF-8 and so needs no mark of its own.
constexpr std::string_view mark = "\xEF\xB7\x90";  // U+FDD0
constexpr std::string_view itself = "00";

void append_mark(std::string& text, unsigned byte) {
  constexpr char digits[] = "0123456789abcdef";
  text += mark;
  text += digits[byte >> 4U];
  text += digits[byte & 15U];
}

/// The number of so many hexadecimal digits at `at`; -1 where there are none.
int hexadecimal(std::string_view text, std::size_t at, std::size_t digits) {
  if (at + digits > text.size()) return -1;
  int number = 0;
  const char* end = text.data() + at + digits;
  const auto [stop, code] = std::from_chars(text.data() + at, end, number, 16);
  return code == std::errc{} && stop == end ? number : -1;
}

bool is_surrogate_escape(std::string_view json, std::size_t at, int first, int last) {
  if (json.substr(at, 2) != "\\u") return false;
  const int unit = hexadecimal(json, at + 2, 4);
  return unit >= first && unit <= last;
}

/// Calls `put` with what stands behind each mark; the rest is copied.
template <class Put>
std::string unmarked(std::string_view text, Put put) {
  std::string result;
  for (std::size_t from = 0;;) {
    const std::size_t found = text.find(mark, from);
    result += text.substr(from, found - from);
    if (found == std::string_view::npos) return result;
    const std::string_view digits = text.substr(found + mark.size(), 2);
    if (digits == itself) {
      result += mark;
    } else {
      put(result, digits);
    }
    from = found + mark.size() + digits.size();
  }
}

}  // namespace

std::string to_marks(std::string_view text) {
  if (find_invalid_utf8(text) == std::string_view::npos &&
      text.find(mark) == std::string_view::npos)
    return std::string(text);
  std::string result;
  for (std::size_t from = 0; from < text.size();) {
    const std::size_t bad = find_invalid_utf8(text, from);
    std::string_view good = text.substr(from, bad - from);
    for (std::size_t found; (found = good.find(mark)) != std::string_view::npos;) {
      result += good.substr(0, found + mark.size());
      result += itself;
      good.remove_prefix(found + mark.size());
    }
    result += good;
    if (bad == std::string_view::npos) break;
    append_mark(result, static_cast<unsigned char>(text[bad]));
    from = bad + 1;
  }
  return result;
}

std::string from_marks(std::string_view text) {
  if (text.find(mark) == std::string_view::npos) return std::string(text);
  return unmarked(text, [](std::string& result, std::string_view digits) {
    result += static_cast<char>(hexadecimal(digits, 0, 2));
  });
}

std::string marks_to_escapes(std::string json) {
  if (json.find(mark) == std::string::npos) return json;
  return unmarked(json, [](std::string& result, std::string_view digits) {
    result += "\\udc";
    result += digits;
  });
}

std::string escapes_to_marks(std::string_view json) {
  std::string result;
  result.reserve(json.size());
  for (std::size_t i = 0; i < json.size();) {
    if (json.substr(i, mark.size()) == mark || is_surrogate_escape(json, i, 0xFDD0, 0xFDD0)) {
      result += mark;
      result += itself;
      i += json[i] == '\\' ? 6 : mark.size();
    } else if (is_surrogate_escape(json, i, 0xD800, 0xDBFF)) {
      // With its second half, which stands alone nowhere here.
      const std::size_t length = is_surrogate_escape(json, i + 6, 0xDC00, 0xDFFF) ? 12 : 6;
      result += json.substr(i, length);
      i += length;
    } else if (is_surrogate_escape(json, i, 0xDC80, 0xDCFF)) {
      append_mark(result, static_cast<unsigned>(hexadecimal(json, i + 4, 2)));
      i += 6;
    } else {
      const std::size_t length = json[i] == '\\' ? 2 : 1;
      result += json.substr(i, length);
      i += length;
    }
  }
  return result;
}

}  // namespace microtome::json_bytes
