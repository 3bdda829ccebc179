#include "paths/quadrature.h"

#include <cmath>
#include <numbers>

namespace attribution {
namespace {

/// Roots of the Legendre polynomial by Newton's method, moved from [-1, 1] to [0, 1].
std::vector<QuadratureNode> gauss_legendre(std::int64_t count) {
  std::vector<QuadratureNode> nodes(static_cast<std::size_t>(count));
  const double n = static_cast<double>(count);
  for (std::int64_t i = 0; i < count; ++i) {
    double x = std::cos(std::numbers::pi * (static_cast<double>(i) + 0.75) / (n + 0.5));
    double derivative = 1;
    for (int iteration = 0; iteration < 100; ++iteration) {
      double previous = 1, value = x;
      for (std::int64_t k = 2; k <= count; ++k) {
        const double degree = static_cast<double>(k);
        const double next = ((2 * degree - 1) * x * value - (degree - 1) * previous) / degree;
        previous = value;
        value = next;
      }
      derivative = n * (x * value - previous) / (x * x - 1);
      const double step = value / derivative;
      x -= step;
      if (std::abs(step) < 1e-15) break;
    }
    // From the last, so that positions rise.
    nodes[static_cast<std::size_t>(count - 1 - i)] = {(x + 1) / 2,
                                                      1 / ((1 - x * x) * derivative * derivative)};
  }
  return nodes;
}

/// A closed rule repeated over equal panels. `weights` are for one panel.
std::vector<QuadratureNode> composite(std::int64_t intervals, const std::vector<double>& weights) {
  const auto width = static_cast<std::int64_t>(weights.size()) - 1;
  double sum = 0;
  for (const double weight : weights) sum += weight;
  std::vector<QuadratureNode> nodes(static_cast<std::size_t>(intervals) + 1);
  for (std::int64_t i = 0; i <= intervals; ++i) {
    nodes[static_cast<std::size_t>(i)].position =
        static_cast<double>(i) / static_cast<double>(intervals);
  }
  const std::int64_t whole_panels = intervals / width;
  const auto panels = static_cast<double>(whole_panels);
  for (std::int64_t start = 0; start < intervals; start += width) {
    for (std::int64_t k = 0; k <= width; ++k) {
      nodes[static_cast<std::size_t>(start + k)].weight +=
          weights[static_cast<std::size_t>(k)] / (sum * panels);
    }
  }
  return nodes;
}

}  // namespace

const std::vector<std::string>& rule_words() {
  static const std::vector<std::string> words = {"gauss_legendre", "left",    "right", "midpoint",
                                                 "trapezoid",      "simpson", "boole"};
  return words;
}

std::int64_t fitting_steps(Rule rule, std::int64_t steps) {
  const std::int64_t multiple = rule == Rule::simpson ? 2 : rule == Rule::boole ? 4 : 1;
  return (steps + multiple - 1) / multiple * multiple;
}

std::vector<QuadratureNode> quadrature(Rule rule, std::int64_t steps) {
  if (steps < 1) throw microtome::Error("a rule needs one step at least");
  if (fitting_steps(rule, steps) != steps) {
    throw microtome::Error("the rule " + rule_words()[static_cast<std::size_t>(rule)] +
                           " can't have " + std::to_string(steps) + " steps; take " +
                           std::to_string(fitting_steps(rule, steps)));
  }
  switch (rule) {
    case Rule::gauss_legendre:
      return gauss_legendre(steps);
    case Rule::trapezoid:
      return composite(steps, {1, 1});
    case Rule::simpson:
      return composite(steps, {1, 4, 1});
    case Rule::boole:
      return composite(steps, {7, 32, 12, 32, 7});
    default:
      break;
  }
  const double offset = rule == Rule::left ? 0 : rule == Rule::right ? 1 : 0.5;
  std::vector<QuadratureNode> nodes;
  for (std::int64_t i = 0; i < steps; ++i) {
    nodes.push_back({(static_cast<double>(i) + offset) / static_cast<double>(steps),
                     1 / static_cast<double>(steps)});
  }
  return nodes;
}

}  // namespace attribution
