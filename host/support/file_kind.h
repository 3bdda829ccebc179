#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace microtome::host {

/// What a file is, for the message that it is not what was expected.
struct FileKind {
  std::string what;    ///< `a Git LFS pointer, not the file itself`
  std::string remedy;  ///< what to do, or empty
  bool is_zip = false;
  /// `it is WHAT; REMEDY`
  std::string text() const;
};

/// How many bytes of a file's beginning tell its kind.
inline constexpr std::size_t kind_bytes = 4096;

/// By the first bytes of a file; nothing when they tell nothing.
std::optional<FileKind> file_kind(std::string_view start);
/// Of a path: also folders, empty files, and links whose target is not here. Nothing for a file
/// that tells nothing, or that does not exist.
std::optional<FileKind> file_kind_at(const std::filesystem::path& path);
/// `; it is WHAT; REMEDY`, or nothing: what to add to a message.
std::string kind_remark(const std::filesystem::path& path);

}  // namespace microtome::host
