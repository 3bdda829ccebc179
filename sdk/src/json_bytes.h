#pragma once

#include <string>
#include <string_view>

/// Text that is not UTF-8, such as a file's name in Latin-1, through JSON and back: a byte outside
/// UTF-8 is the escape of a lone surrogate there, `\udce9` for E9, as Python's `os.fsdecode` has
/// it. The JSON library takes UTF-8 alone, so such bytes pass through it behind a mark.
namespace microtome::json_bytes {

/// Each byte outside UTF-8 as a mark with its two hexadecimal digits.
std::string to_marks(std::string_view text);
/// The inverse.
std::string from_marks(std::string_view text);
/// In JSON text: marks become escapes of lone surrogates.
std::string marks_to_escapes(std::string json);
/// The inverse.
std::string escapes_to_marks(std::string_view json);

}  // namespace microtome::json_bytes
