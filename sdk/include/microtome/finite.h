#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "microtome/tensor.h"

namespace [[gnu::visibility("default")]] microtome {

/// A value that is no finite number, and where in a tensor it is.
struct NotFinite {
  std::vector<std::int64_t> place;  ///< index along each dimension
  double value = 0;                 ///< NaN or an infinity

  /// "NaN at [3, 0, 2]", "Infinity", ...; leaves out the first `skipped` dimensions of the place.
  std::string text(std::size_t skipped = 0) const;
};

/// The first NaN or infinity in the order of the elements; nothing when all are finite, as integers
/// and truth values are.
std::optional<NotFinite> first_not_finite(const at::Tensor& values);

/// Throws `Error` that names the sample and the place in it when a row holds a NaN or an infinity:
/// `sample "7": WHAT holds a NaN or an infinite value (NaN at [2])`, or `... is NaN` for rows of
/// one number. Row i of `rows` is of the sample `ids[i]`; `what` is a singular, such as `the
/// score`.
void demand_finite(const at::Tensor& rows, const std::vector<std::string>& ids,
                   const std::string& what);

/// The same for values that may be infinite, such as log-probabilities:
/// `sample "7": WHAT holds NaN at [2]`.
void demand_no_nan(const at::Tensor& rows, const std::vector<std::string>& ids,
                   const std::string& what);

/// As the first, of a value that belongs to no sample alone.
void demand_finite(const at::Tensor& value, const std::string& what);

}  // namespace microtome
