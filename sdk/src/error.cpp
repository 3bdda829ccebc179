#include "microtome/error.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace microtome {

Error::Error(const std::string& message) : std::runtime_error(message) {}
Error::Error(Location location, const std::string& message)
    : std::runtime_error(message), location_(std::move(location)) {}
Error::~Error() = default;

void Error::add_where(std::string place) { where_.insert(where_.begin(), std::move(place)); }

std::string Error::full() const {
  std::string text;
  for (const std::string& place : where_) text += place + ": ";
  return text + what();
}

Cancelled::Cancelled() : Error("cancelled") {}
Cancelled::~Cancelled() = default;

void Problems::add(const Location& location, std::string message) {
  list_.push_back({location, std::move(message)});
}

namespace {

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t substitution = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({substitution, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

std::vector<std::string> nearest_names(std::string_view word,
                                       const std::vector<std::string>& candidates) {
  std::vector<std::pair<std::size_t, std::string>> near;
  const std::size_t limit = std::max<std::size_t>(2, word.size() / 3);
  for (const std::string& candidate : candidates) {
    const std::size_t distance = edit_distance(word.substr(0, 200), candidate.substr(0, 200));
    const bool contained =
        word.size() >= 3 && (candidate.find(word) != std::string::npos ||
                             (candidate.size() >= 3 && word.find(candidate) != std::string::npos));
    if (distance <= limit || contained) near.emplace_back(distance, candidate);
  }
  std::stable_sort(near.begin(), near.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<std::string> result;
  for (auto& [distance, name] : near) {
    if (result.size() == 3) break;
    if (std::find(result.begin(), result.end(), name) == result.end()) result.push_back(name);
  }
  return result;
}

std::string suggestion(std::string_view word, const std::vector<std::string>& candidates) {
  const auto quoted = [](const std::vector<std::string>& names) {
    std::string text;
    for (const std::string& name : names) text += (text.empty() ? "\"" : ", \"") + name + "\"";
    return text;
  };
  const auto near = nearest_names(word, candidates);
  if (!near.empty()) return "; did you mean " + quoted(near) + "?";
  if (!candidates.empty() && candidates.size() <= 24) return "; there is " + quoted(candidates);
  return "";
}

}  // namespace microtome
