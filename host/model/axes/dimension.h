#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace microtome::host::axes {

/// What samples are called among the parts of a dimension.
inline constexpr const char* samples = "N";

/// A factor of a dimension, such as the heads in what holds samples x heads.
struct Part {
  std::string name;  ///< of `microtome::Axes`, or `samples`; empty: not known
  std::int64_t size = 1;
};
/// Outermost first; the product of their sizes is the dimension's.
using Dimension = std::vector<Part>;
/// Of a tensor as the network has it.
using Dimensions = std::vector<Dimension>;

std::int64_t size_of(const Dimension& dimension);
bool holds_samples(const Dimension& dimension);
/// What the parts besides the samples are called together; empty when that is not known.
std::string name_of(const Dimension& dimension);
std::string name_of(Dimension::const_iterator begin, Dimension::const_iterator end);
/// The same dimension in another size: what is left of it, or what it was padded to.
Dimension resized(const Dimension& dimension, std::int64_t size);
/// Names the one part that is not known; returns whether there was one.
bool name_unknown(Dimension& dimension, const std::string& name);
/// The parts of all dimensions in order, grouped into dimensions of these sizes, parts split where
/// they must be. Nothing when they don't fit.
std::optional<Dimensions> regrouped(const Dimensions& dimensions,
                                    const std::vector<std::int64_t>& sizes);

}  // namespace microtome::host::axes
