#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "microtome/sdk.h"

namespace attribution {

/// Groups of a value's elements that are present or absent together: `grid:8` (square cells of 8
/// pixels, all channels together), `unit` (each element for itself), `channel`, `slic:24` or
/// `slic:24:10` (superpixels of the image, about 24 pixels wide, with a compactness), `field:NAME`
/// (an integer map of the dataset, H x W, one number for each region).
struct Grouping {
  enum class Kind { grid, unit, channel, slic, field };
  Kind kind = Kind::grid;
  std::int64_t side = 0;  ///< of a cell or a superpixel, in pixels
  double compactness = 10;
  std::string field;

  static constexpr const char* doc =
      "what is there or away together: grid:N (square cells of N pixels, all channels), slic:N "
      "(superpixels of the image, about N pixels wide, by SLIC, Achanta et al. 2012; "
      "slic:N:COMPACTNESS, 10 unless given), unit, channel, or field:NAME (an integer field of the "
      "dataset, height x width, with the number of each pixel's region)";

  /// Whether each sample has features of its own, and its own number of them.
  bool is_by_sample() const { return kind == Kind::slic || kind == Kind::field; }

  /// Throws `microtome::Error` that says what is wrong.
  static Grouping parse(const std::string& text);
  /// Adds what does not fit the value at `at` or the dataset at "data".
  void check(const microtome::PlanInputs& inputs, const microtome::HookPoint& at) const;
};

/// Which feature each element of a batch's value belongs to.
struct Features {
  at::Tensor index;        ///< int64, N x ... like the value, or 1 x ... where all samples agree
  std::int64_t count = 0;  ///< features are 0 .. count - 1

  /// `with` where the feature of an element is in, `without` elsewhere. `present`: N x count, bool.
  at::Tensor composed(const at::Tensor& present, const at::Tensor& with,
                      const at::Tensor& without) const;
  /// Values by feature, N x count, on the elements: N x ...
  at::Tensor spread(const at::Tensor& by_feature, const at::Tensor& like) const;
};

/// Of the value at `at`. Throws `microtome::Error` when the grouping can't be of it.
Features features_of(const Grouping& grouping, const at::Tensor& value, const microtome::Axes& axes,
                     const microtome::AttributionInput& input, const microtome::HookPoint& at);

}  // namespace attribution
