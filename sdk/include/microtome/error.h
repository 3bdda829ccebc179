#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace [[gnu::visibility("default")]] microtome {

/// A place in a text file. Lines and columns start at 1; 0 means unknown. An empty file name means
/// the file that is being read.
struct Location {
  int line = 0;
  int column = 0;
  std::string file;

  bool known() const { return line > 0; }
};

/// The one exception of Microtome. `what()` says what is wrong and what to do; the host adds where
/// (plugin, stage, sample) as it passes by.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message);
  Error(Location location, const std::string& message);
  ~Error() override;

  const Location& location() const { return location_; }

  /// Where it happened, outermost first: `stage ig`, `samples 32..63`.
  const std::vector<std::string>& where() const { return where_; }
  /// Adds an outer place. [any thread that owns the exception]
  void add_where(std::string place);
  /// `where: what`, for a person.
  std::string full() const;

 private:
  Location location_;
  std::vector<std::string> where_;
};

/// Work was given up because the run is ending. Never a failure of the stage.
class Cancelled : public Error {
 public:
  Cancelled();
  ~Cancelled() override;
};

/// One mistake in what a user wrote.
struct Problem {
  Location location;
  std::string message;
};

/// Mistakes collected so that all of them can be said at once. [one thread]
class Problems {
 public:
  void add(const Location& location, std::string message);
  bool empty() const { return list_.empty(); }
  std::size_t size() const { return list_.size(); }
  const std::vector<Problem>& list() const { return list_; }

 private:
  std::vector<Problem> list_;
};

/// The candidates nearest to `word` by edit distance, best first, at most three; empty when none is
/// near.
std::vector<std::string> nearest_names(std::string_view word,
                                       const std::vector<std::string>& candidates);

/// `; did you mean "a"?`, or the names that exist when none is near and they are few, or "".
std::string suggestion(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace microtome
