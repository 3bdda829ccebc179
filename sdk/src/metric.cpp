#include "microtome/metric.h"

#include <algorithm>
#include <boost/math/distributions/normal.hpp>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>

#include "microtome/error.h"

namespace microtome {
namespace {
Interval wilson(double p, double count, double level, std::string method) {
  const double z = boost::math::quantile(boost::math::normal(), 0.5 + level / 2);
  const double scale = 1 + z * z / count;
  const double centre = (p + z * z / (2 * count)) / scale;
  const double half = z / scale * std::sqrt(p * (1 - p) / count + z * z / (4 * count * count));
  return {p <= 0 ? 0 : std::max(0.0, centre - half), p >= 1 ? 1 : std::min(1.0, centre + half),
          level, std::move(method)};
}
}  // namespace

std::optional<Interval> mean_interval(double sum, double sum_of_squares, std::int64_t n,
                                      double level) {
  if (n < 2) return std::nullopt;
  const auto count = static_cast<double>(n);
  const double mean = sum / count;
  const double variance = std::max(0.0, (sum_of_squares - sum * mean) / (count - 1));
  const boost::math::students_t distribution(count - 1);
  const double half =
      boost::math::quantile(distribution, 0.5 + level / 2) * std::sqrt(variance / count);
  return Interval{mean - half, mean + half, level, "Student t"};
}

Interval wilson_interval(std::int64_t successes, std::int64_t n, double level) {
  if (n <= 0) return {0, 1, level, "Wilson"};
  return wilson(static_cast<double>(successes) / static_cast<double>(n), static_cast<double>(n),
                level, "Wilson");
}

Interval clustered_wilson_interval(const std::vector<std::int64_t>& successes,
                                   std::int64_t cluster_size, double level) {
  const auto clusters = static_cast<double>(successes.size());
  if (successes.empty()) return wilson_interval(0, 0, level);
  const auto size = static_cast<double>(cluster_size);
  double mean = 0;
  for (const std::int64_t count : successes) mean += static_cast<double>(count) / size / clusters;
  double spread = 0;
  for (const std::int64_t count : successes) {
    const double deviation = static_cast<double>(count) / size - mean;
    spread += deviation * deviation;
  }
  // Without spread nothing says that rows of a cluster are independent.
  double effective = clusters;
  if (spread > 0 && successes.size() > 1) {
    effective = mean * (1 - mean) * clusters * (clusters - 1) / spread;
  }
  return wilson(mean, std::clamp(effective, 1.0, clusters * size), level,
                "Wilson, clustered by sample");
}

void Metric::demand_finite() const {
  const auto check = [&](double number, const std::string& what) {
    if (std::isfinite(number)) return;
    std::string text = "the metric \"" + name + "\"";
    if (details.is_map() && !details.as_map().empty()) text += " " + to_json(details);
    throw Error(
        text + ": " + what + " is " + (std::isnan(number) ? "NaN" : "infinite") +
        "; a number that it was made from is not finite, or there was none to make it from");
  };
  check(value, "its value");
  if (interval) {
    check(interval->low, "the lower end of its interval");
    check(interval->high, "the upper end of its interval");
  }
  if (chance) check(*chance, "its chance level");
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

Interval bootstrap_interval(const at::Tensor& values, at::Generator generator, std::int64_t draws,
                            double level) {
  const at::Tensor numbers = values.to(at::kDouble).flatten();
  const std::int64_t n = numbers.numel();
  if (n == 0) throw Error("there are no values to make an interval of");
  std::vector<double> means;
  means.reserve(static_cast<std::size_t>(draws));
  for (std::int64_t draw = 0; draw < draws; ++draw) {
    const at::Tensor chosen = at::randint(n, {n}, generator, at::TensorOptions().dtype(at::kLong));
    means.push_back(numbers.index_select(0, chosen).mean().item<double>());
  }
  std::sort(means.begin(), means.end());
  const auto at_share = [&](double share) {
    const double place = share * static_cast<double>(draws - 1);
    const auto below = static_cast<std::size_t>(place);
    const std::size_t above = std::min(below + 1, means.size() - 1);
    return means[below] + (place - std::floor(place)) * (means[above] - means[below]);
  };
  return {at_share((1 - level) / 2), at_share((1 + level) / 2), level, "percentile bootstrap"};
}

}  // namespace microtome
