#include "microtome/metric.h"

#include <algorithm>
#include <cmath>

namespace microtome {
namespace {

/// Quantile of the standard normal distribution by bisection of its distribution function.
double normal_quantile(double probability) {
  double low = -40, high = 40;
  for (int i = 0; i < 200; ++i) {
    const double middle = (low + high) / 2;
    (0.5 * std::erfc(-middle / std::sqrt(2.0)) < probability ? low : high) = middle;
  }
  return (low + high) / 2;
}

}  // namespace

Interval wilson_interval(std::int64_t successes, std::int64_t n, double level) {
  if (n <= 0) return {0, 1, level, "Wilson"};
  const double z = normal_quantile(0.5 + level / 2);
  const double count = static_cast<double>(n);
  const double p = static_cast<double>(successes) / count;
  const double scale = 1 + z * z / count;
  const double centre = (p + z * z / (2 * count)) / scale;
  const double half = z / scale * std::sqrt(p * (1 - p) / count + z * z / (4 * count * count));
  return {successes == 0 ? 0 : std::max(0.0, centre - half),
          successes == n ? 1 : std::min(1.0, centre + half), level, "Wilson"};
}

Value Metric::to_value() const {
  Value value = Value::map();
  value.set("name", name);
  value.set("value", this->value);
  if (!unit.empty()) value.set("unit", unit);
  if (interval) {
    Value said = Value::map();
    said.set("low", interval->low);
    said.set("high", interval->high);
    said.set("level", interval->level);
    said.set("method", interval->method);
    value.set("interval", std::move(said));
  }
  value.set("n", n);
  if (!resampling_unit.empty()) value.set("resampling_unit", resampling_unit);
  if (chance) value.set("chance", *chance);
  if (!null_description.empty()) value.set("null", null_description);
  if (seed) value.set("seed", static_cast<std::int64_t>(*seed));
  if (!details.is_null()) value.set("details", details);
  return value;
}

}  // namespace microtome
