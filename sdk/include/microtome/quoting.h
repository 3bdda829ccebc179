#pragma once

#include <cstddef>
#include <string>
#include <string_view>

/// Quotes in the grammars of hook points, targets and references: a module's name that holds
/// blanks, brackets, quotes or any of `@ : / | ,` stands in single quotes, each quote in it
/// doubled: `m.'x[0]'`, `'it''s'`. A quote opens where a name may begin, so `it's` has none.
namespace [[gnu::visibility("default")]] microtome {

/// Whether a module's path has a segment that needs quotes.
bool needs_quotes(std::string_view path);

/// A module's path as the grammar writes it, each segment between dots in quotes where it needs
/// them.
std::string quoted_path(std::string_view path);

/// Where the name in quotes that begins at `open` ends: one past its last quote; `open` when no
/// such name begins there.
std::size_t end_of_quoted(std::string_view text, std::size_t open);

/// The first of `stops`, from `from` on, that stands outside quotes and brackets; `text.size()`
/// where there is none.
std::size_t find_outside(std::string_view text, std::string_view stops, std::size_t from = 0);

}  // namespace microtome
