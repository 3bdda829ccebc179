#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "microtome/tensor.h"
#include "microtome/value.h"

namespace [[gnu::visibility("default")]] microtome {

/// A two-sided interval and how it was made.
struct Interval {
  double low = 0;
  double high = 0;
  double level = 0.95;
  std::string method;  ///< e.g. "Wilson"
};

/// A number with what is needed to believe it.
struct Metric {
  std::string name;
  double value = 0;
  std::string unit;  ///< "" for a ratio
  std::optional<Interval> interval;
  std::int64_t n = 0;            ///< how many units it rests on
  std::string resampling_unit;   ///< what one of the n is, e.g. "sample"
  std::optional<double> chance;  ///< level of a method that knows nothing
  std::string null_description;  ///< how the chance level was found
  std::optional<std::uint64_t> seed;
  Value details;  ///< e.g. the layer or the class it belongs to

  Value to_value() const;
  /// Throws `Error` that names the metric when one of its numbers is a NaN or an infinity; writers
  /// call it.
  void demand_finite() const;
};

/// Interval of a mean by Student's t distribution; nothing for less than two values. `sum` and
/// `sum_of_squares` are those of the values.
std::optional<Interval> mean_interval(double sum, double sum_of_squares, std::int64_t n,
                                      double level = 0.95);

/// Wilson score interval of `successes` of `n` (Wilson 1927). n = 0 gives [0, 1].
Interval wilson_interval(std::int64_t successes, std::int64_t n, double level = 0.95);

/// The same where rows come in clusters of one size, such as the positions of an image: with the
/// number of independent rows that would vary as much between clusters (Korn, Graubard 1998).
/// `successes`: of each cluster.
Interval clustered_wilson_interval(const std::vector<std::int64_t>& successes,
                                   std::int64_t cluster_size, double level = 0.95);

/// Percentile bootstrap interval of the mean of `values` [n] (Efron 1979). Of differences of paired
/// values it is the paired bootstrap. The interval is the value itself when n is 1.
Interval bootstrap_interval(const at::Tensor& values, at::Generator generator,
                            std::int64_t draws = 2000, double level = 0.95);

}  // namespace microtome
