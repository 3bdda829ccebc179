#pragma once

#include <optional>
#include <string>
#include <vector>

namespace microtome::host::report {

/// What stands beside the axes.
struct Axes {
  std::string title, x, y;
};

/// A line through (x, y), named in the legend when there are several.
struct Series {
  std::string name;
  std::vector<double> x, y;
};
std::string line_chart(const Axes& axes, const std::vector<Series>& series);

/// Points; those of one group have one colour.
struct Points {
  std::vector<double> x, y;
  std::vector<std::int64_t> group;  ///< empty: one colour
  std::vector<std::string> group_names;
};
std::string scatter_chart(const Axes& axes, const Points& points);

/// A value with its interval and its chance level, for each name on the x axis.
struct Measured {
  std::string name;
  double value = 0;
  std::optional<double> low, high, chance;
};
/// Values side by side over the same names, such as a measure and its baselines; named in the
/// legend when there are several.
struct MeasuredSeries {
  std::string name;
  std::vector<Measured> values;
};
std::string interval_chart(const Axes& axes, const std::vector<MeasuredSeries>& series);

}  // namespace microtome::host::report
