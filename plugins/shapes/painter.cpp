#include "painter.h"

#include <cmath>

namespace shapes {

namespace {

constexpr double pi = 3.14159265358979323846;

/// Numbers that a sample's seed leaves open, drawn in one order whatever the factors are.
struct Chance {
  double angle, dx, dy, stretch, phase, texture_angle, tint;
  at::Tensor noise;

  Chance(std::uint64_t seed, std::int64_t side) {
    at::Generator generator = at::detail::createCPUGenerator(seed);
    const at::Tensor drawn = at::rand({7}, generator, at::kDouble);
    const auto* u = drawn.data_ptr<double>();
    angle = (u[0] - 0.5) * pi / 3;
    dx = (u[1] - 0.5) * 0.12;
    dy = (u[2] - 0.5) * 0.12;
    stretch = 0.9 + 0.2 * u[3];
    phase = u[4];
    texture_angle = (u[5] - 0.5) * pi / 2;
    tint = (u[6] - 0.5) * 0.2;
    noise = at::randn({3, side, side}, generator, at::kFloat);
  }
};

/// Inside of the object, in its own coordinates, with radius 1.
at::Tensor inside(std::int64_t shape, const at::Tensor& x, const at::Tensor& y) {
  switch (shape) {
    case 0:  // disc
      return (x * x + y * y) < 1;
    case 1:  // square, of the disc's area
      return at::maximum(x.abs(), y.abs()) < std::sqrt(pi) / 2;
    case 2: {  // triangle, of the disc's area
      const double height = std::sqrt(pi * std::sqrt(3.0));
      const at::Tensor down = y + height * 2 / 3;
      return (down > 0).logical_and(down < height).logical_and(x.abs() < down / std::sqrt(3.0));
    }
    default: {  // cross, of the disc's area
      const double arm = std::sqrt(pi / 5) / 2;
      const auto bar = [arm](const at::Tensor& across, const at::Tensor& along) {
        return (across.abs() < arm).logical_and(along.abs() < 3 * arm);
      };
      return bar(x, y).logical_or(bar(y, x));
    }
  }
}

/// Brightness of the texture, 1 or darker, by pixels.
at::Tensor pattern(std::int64_t texture, const at::Tensor& x, const at::Tensor& y, double period,
                   double phase) {
  constexpr double dark = 0.25;
  const at::Tensor u = x / period + phase, v = y / period + phase;
  at::Tensor on;
  switch (texture) {
    case 0:
      return at::ones_like(x);
    case 1:
      on = (u - u.floor()) < 0.5;
      break;
    case 2: {
      const at::Tensor a = u - u.floor() - 0.5, b = v - v.floor() - 0.5;
      on = (a * a + b * b) > 0.09;
      break;
    }
    default:
      on = (u.floor() + v.floor()).remainder(2) == 0;
  }
  return at::where(on, at::ones_like(x), at::full_like(x, dark));
}

}  // namespace

Painting paint(const Factors& factors, std::int64_t side, std::uint64_t seed) {
  constexpr double colours[4][3] = {
      {0.9, 0.2, 0.2}, {0.2, 0.8, 0.25}, {0.25, 0.4, 0.95}, {0.95, 0.85, 0.2}};
  constexpr double centres[5][2] = {
      {0.32, 0.32}, {0.68, 0.32}, {0.32, 0.68}, {0.68, 0.68}, {0.5, 0.5}};
  const Chance chance(seed, side);
  const auto pixels = static_cast<double>(side);
  const at::Tensor line = (at::arange(side, at::kDouble) + 0.5) / pixels;
  const auto index = [&](FactorIndex factor) { return static_cast<std::size_t>(factors[factor]); };
  const at::Tensor x =
      (line - centres[index(place)][0] - chance.dx).unsqueeze(0).expand({side, side});
  const at::Tensor y =
      (line - centres[index(place)][1] - chance.dy).unsqueeze(1).expand({side, side});
  const double radius = (factors[size] == 0 ? 0.14 : 0.22) * chance.stretch;
  const auto turned = [&](double angle) {
    return std::pair{x * std::cos(angle) + y * std::sin(angle),
                     y * std::cos(angle) - x * std::sin(angle)};
  };
  const auto [ox, oy] = turned(chance.angle);
  const auto [tx, ty] = turned(chance.texture_angle);

  Painting painting;
  painting.mask = inside(factors[shape], ox / radius, oy / radius);
  const at::Tensor brightness = pattern(factors[texture], tx, ty, 0.11, chance.phase);
  at::Tensor ground;
  switch (factors[background]) {
    case 0:
      ground = at::full({3, side, side}, 0.15 + chance.tint / 4, at::kDouble);
      break;
    case 1:
      ground = at::full({3, side, side}, 0.8 + chance.tint / 2, at::kDouble);
      break;
    default:
      ground = 0.5 + 0.2 * chance.noise.to(at::kDouble);
  }
  at::Tensor object = at::empty({3, side, side}, at::kDouble);
  for (std::int64_t c = 0; c < 3; ++c)
    object[c] = colours[index(colour)][c] * brightness + chance.tint / 4;
  painting.image = at::where(painting.mask.unsqueeze(0), object, ground)
                       .add(0.02 * chance.noise)
                       .clamp(0, 1)
                       .to(at::kFloat);
  return painting;
}

}  // namespace shapes
