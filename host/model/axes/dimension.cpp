#include "host/model/axes/dimension.h"

#include <algorithm>

namespace microtome::host::axes {
namespace {

bool is_place(const std::string& name) {
  return name == "z" || name == "y" || name == "x" || name == "token" || name == "window" ||
         name == "query" || name == "key";
}

/// Names for the pieces of one part that was split, outermost first.
void name_pieces(const std::vector<Part*>& pieces, const std::string& name, bool has_places) {
  if (pieces.size() < 2) return;
  for (Part* piece : pieces) piece->name.clear();
  const bool is_one_axis = name == "z" || name == "y" || name == "x";
  // Positions in a row may become rows and columns, or windows: only what reads them knows.
  if (is_place(name) && !is_one_axis) return;
  pieces.back()->name = name;
  if (is_one_axis) {
    for (std::size_t i = 0; i + 1 < pieces.size(); ++i) pieces[i]->name = "window";
  } else if (name == "c" && !has_places) {
    // Of channels that are split beside places the groups have no name.
    pieces[pieces.size() - 2]->name = "head";
  }
}

}  // namespace

std::int64_t size_of(const Dimension& dimension) {
  std::int64_t size = 1;
  for (const Part& part : dimension) size *= part.size;
  return size;
}

bool holds_samples(const Dimension& dimension) {
  return std::any_of(dimension.begin(), dimension.end(),
                     [](const Part& part) { return part.name == samples; });
}

std::string name_of(Dimension::const_iterator begin, Dimension::const_iterator end) {
  std::vector<std::string> names;
  std::string of_size_one;
  for (auto part = begin; part != end; ++part) {
    if (part->name == samples) continue;
    if (part->size == 1) {
      if (!part->name.empty()) of_size_one = part->name;
      continue;
    }
    if (part->name.empty()) return "";
    names.push_back(part->name);
  }
  if (names.empty()) return of_size_one;
  // Windows along an axis and the places in each are that axis again.
  if (std::any_of(names.begin(), names.end(), [](const auto& name) { return name != "window"; }))
    std::erase(names, "window");
  if (std::find(names.begin(), names.end(), "c") != names.end()) return "c";
  if (std::all_of(names.begin(), names.end(), [&](const auto& name) { return name == names[0]; }))
    return names[0];
  return std::all_of(names.begin(), names.end(), is_place) ? "token" : "";
}

std::string name_of(const Dimension& dimension) {
  return name_of(dimension.begin(), dimension.end());
}

Dimension resized(const Dimension& dimension, std::int64_t size) {
  if (size_of(dimension) == size) return dimension;
  return {{name_of(dimension), size}};
}

bool name_unknown(Dimension& dimension, const std::string& name) {
  Part* unknown = nullptr;
  for (Part& part : dimension) {
    if (!part.name.empty()) {
      if (part.name != samples && part.size != 1) return false;
      continue;
    }
    if (unknown != nullptr && part.size != 1 && unknown->size != 1) return false;
    if (unknown == nullptr || part.size != 1) unknown = &part;
  }
  if (unknown == nullptr) return false;
  unknown->name = name;
  return true;
}

std::optional<Dimensions> regrouped(const Dimensions& dimensions,
                                    const std::vector<std::int64_t>& sizes) {
  bool has_places = false;
  std::vector<Part> all;
  for (const Dimension& dimension : dimensions) {
    all.insert(all.end(), dimension.begin(), dimension.end());
    has_places = has_places || name_of(dimension) == "y";
  }
  // From which part each piece came.
  std::vector<std::vector<Part*>> pieces(all.size());
  std::vector<std::int64_t> left;
  for (const Part& part : all) left.push_back(part.size);
  Dimensions result(sizes.size());
  // Reserved, so that pieces stay where they are pointed at.
  for (Dimension& dimension : result) dimension.reserve(all.size() + 1);
  std::size_t next = 0;
  for (std::size_t d = 0; d < sizes.size(); ++d) {
    std::int64_t wanted = sizes[d];
    if (wanted == 1) {
      const bool is_one = next < all.size() && all[next].size == 1;
      result[d].push_back(is_one ? all[next++] : Part{"", 1});
      continue;
    }
    while (wanted > 1) {
      while (next < all.size() && left[next] == 1) ++next;
      if (next == all.size()) return std::nullopt;
      const std::int64_t taken = std::min(wanted, left[next]);
      if (wanted % taken != 0 || left[next] % taken != 0) return std::nullopt;
      if (taken != all[next].size && all[next].name == samples) return std::nullopt;
      result[d].push_back({all[next].name, taken});
      pieces[next].push_back(&result[d].back());
      wanted /= taken;
      left[next] /= taken;
    }
  }
  while (next < all.size() && left[next] == 1) ++next;
  if (next != all.size()) return std::nullopt;
  for (std::size_t i = 0; i < all.size(); ++i) name_pieces(pieces[i], all[i].name, has_places);
  return result;
}

}  // namespace microtome::host::axes
