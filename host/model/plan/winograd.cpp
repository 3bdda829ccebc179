#include "host/model/plan/winograd.h"

#include <algorithm>
#include <numbers>
#include <vector>

namespace microtome::host {
namespace {

constexpr std::int64_t lanes = WinogradGradient::lanes;
constexpr std::int64_t taken = 6,
                       made =
                           WinogradGradient::tile;  ///< edges of a tile before and after filtering
constexpr std::int64_t products = taken * taken;

// The points of the interpolation are 0, +-sqrt(1/2), +-sqrt(2) and infinity: with the paper's (0,
// +-1, +-2) the largest error is four times as large.
constexpr float root = std::numbers::sqrt2_v<float>;

/// The filters at those points.
at::Tensor filter_transform() {
  constexpr double half = 0.5 * std::numbers::sqrt2, whole = std::numbers::sqrt2;
  const at::Tensor at_points =
      at::tensor(at::ArrayRef<double>(
                     {1, 0, 0, 1, half, 0.5, 1, -half, 0.5, 1, whole, 2, 1, -whole, 2, 0, 0, 1}),
                 at::kDouble);
  const at::Tensor weights =
      at::tensor(at::ArrayRef<double>({1, -2. / 3, -2. / 3, 1. / 6, 1. / 6, 1}), at::kDouble);
  return at_points.view({taken, 3}) * weights.unsqueeze(1);
}

// What is made waits in an array of its own, so that the compiler knows that nothing is read after
// it was written.

template <std::size_t count>
void put(const std::array<std::array<float, lanes>, count>& values, float* to, std::int64_t step) {
  for (const auto& value : values) {
    std::copy(value.begin(), value.end(), to);
    to += step;
  }
}

/// Six values, `step` apart, `lanes` of each, to what is multiplied by the transformed filters. May
/// work in place.
void transform_input(const float* from, std::int64_t step, float* to, std::int64_t to_step) {
  const float *a = from, *b = a + step, *c = b + step, *d = c + step, *e = d + step, *f = e + step;
  std::array<std::array<float, lanes>, taken> result;
  for (std::size_t i = 0; i < lanes; ++i) {
    const float even = e[i] - 2 * c[i], odd = 0.5f * root * (d[i] - 2 * b[i]);
    const float even2 = e[i] - 0.5f * c[i], odd2 = root * (d[i] - 0.5f * b[i]);
    result[0][i] = a[i] - 2.5f * c[i] + e[i];
    result[1][i] = even + odd;
    result[2][i] = even - odd;
    result[3][i] = even2 + odd2;
    result[4][i] = even2 - odd2;
    result[5][i] = b[i] - 2.5f * d[i] + f[i];
  }
  put(result, to, to_step);
}

/// Six sums of products to four values.
void transform_output(const float* from, std::int64_t step, float* to, std::int64_t to_step) {
  const float *a = from, *b = a + step, *c = b + step, *d = c + step, *e = d + step, *f = e + step;
  std::array<std::array<float, lanes>, made> result;
  for (std::size_t i = 0; i < lanes; ++i) {
    const float sum = b[i] + c[i], difference = root * (b[i] - c[i]);
    const float sum2 = d[i] + e[i], difference2 = root * (d[i] - e[i]);
    result[0][i] = a[i] + sum + sum2;
    result[1][i] = 0.5f * difference + difference2;
    result[2][i] = 0.5f * sum + 2 * sum2;
    result[3][i] = 0.25f * difference + 2 * difference2 + f[i];
  }
  put(result, to, to_step);
}

/// An image's planes, and how far its values lie from each other.
struct Planes {
  std::int64_t channels, height, width;
  std::int64_t by_image, by_channel, by_row, by_column;

  explicit Planes(const at::Tensor& images)
      : channels(images.size(1)),
        height(images.size(2)),
        width(images.size(3)),
        by_image(images.stride(0)),
        by_channel(images.stride(1)),
        by_row(images.stride(2)),
        by_column(images.stride(3)) {}
};

/// `products` matrices of tiles by channels.
struct Matrices {
  float* first;
  std::int64_t apart;
};

/// The row of tiles whose first value lies at `top` and `left`, neither above 0, to its matrices.
void scatter_tiles(const float* image, const Planes& planes, std::int64_t top, std::int64_t left,
                   std::int64_t tiles, const Matrices& to, std::vector<float>& strip) {
  const std::int64_t wide = made * tiles + taken - made;
  strip.resize(static_cast<std::size_t>(taken * wide * lanes));
  const std::int64_t begin = -left, end = std::min(wide, planes.width - left);
  for (std::int64_t channel = 0; channel < planes.channels; channel += lanes) {
    for (std::int64_t r = 0; r < taken; ++r) {
      const std::int64_t y = top + r;
      float* row = strip.data() + r * wide * lanes;
      if (y < 0 || y >= planes.height) {
        std::fill_n(row, wide * lanes, 0.f);
        continue;
      }
      const float* values = image + channel * planes.by_channel + y * planes.by_row;
      std::fill_n(row, begin * lanes, 0.f);
      std::fill(row + end * lanes, row + wide * lanes, 0.f);
      for (std::int64_t x = begin; x < end; ++x) {
        for (std::int64_t i = 0; i < lanes; ++i)
          row[x * lanes + i] = values[i * planes.by_channel + (x - begin) * planes.by_column];
      }
    }
    for (std::int64_t x = 0; x < wide; ++x) {
      float* column = strip.data() + x * lanes;
      transform_input(column, wide * lanes, column, wide * lanes);
    }
    for (std::int64_t tile = 0; tile < tiles; ++tile) {
      float* terms = to.first + tile * planes.channels + channel;
      for (std::int64_t r = 0; r < taken; ++r)
        transform_input(strip.data() + (r * wide + tile * made) * lanes, lanes,
                        terms + r * taken * to.apart, to.apart);
    }
  }
}

/// A row of tiles to the values whose first row is `top`.
void gather_tiles(const Matrices& from, std::int64_t tiles, float* image, const Planes& planes,
                  std::int64_t top, std::vector<float>& strip) {
  const std::int64_t wide = made * tiles;
  strip.resize(static_cast<std::size_t>(made * wide * lanes));
  const std::int64_t rows = std::min(made, planes.height - top);
  for (std::int64_t channel = 0; channel < planes.channels; channel += lanes) {
    for (std::int64_t tile = 0; tile < tiles; ++tile) {
      const float* sums = from.first + tile * planes.channels + channel;
      std::array<float, taken * made * lanes> half;
      for (std::int64_t r = 0; r < taken; ++r)
        transform_output(sums + r * taken * from.apart, from.apart, half.data() + r * made * lanes,
                         lanes);
      for (std::int64_t x = 0; x < made; ++x)
        transform_output(half.data() + x * lanes, made * lanes,
                         strip.data() + (tile * made + x) * lanes, wide * lanes);
    }
    for (std::int64_t r = 0; r < rows; ++r) {
      const float* row = strip.data() + r * wide * lanes;
      float* values = image + channel * planes.by_channel + (top + r) * planes.by_row;
      for (std::int64_t i = 0; i < lanes; ++i) {
        for (std::int64_t x = 0; x < planes.width; ++x)
          values[i * planes.by_channel + x * planes.by_column] = row[x * lanes + i];
      }
    }
  }
}

/// Of shape [products, rows, columns], a line of the cache more than that apart: powers of two
/// would put what is written together into the same places of the cache.
at::Tensor matrices(std::int64_t rows, std::int64_t columns) {
  const std::int64_t apart = rows * columns + 16;
  return at::empty({products * apart}, at::kFloat)
      .as_strided({products, rows, columns}, {apart, columns, 1});
}

/// The filters that take back what `weight` did: in and out change places, and the kernels turn.
at::Tensor transformed(const at::Tensor& weight) {
  const at::Tensor transform = filter_transform();
  const at::Tensor both = at::kron(transform, transform);
  const std::int64_t out = weight.size(0), in = weight.size(1);
  at::Tensor result = at::empty({products, out, in}, at::kFloat);
  // In float64, of so many channels at a time that it stays in the cache.
  for (std::int64_t first = 0; first < out; first += lanes) {
    const at::Tensor kernels = weight.narrow(0, first, lanes).to(at::kDouble).flip({2, 3});
    const at::Tensor by_place = kernels.reshape({lanes * in, 9}).t();
    result.narrow(1, first, lanes).copy_(at::matmul(both, by_place).view({products, lanes, in}));
  }
  return result;
}

}  // namespace

std::int64_t WinogradGradient::bytes(const at::Tensor& weight) {
  return products * weight.size(0) * weight.size(1) * static_cast<std::int64_t>(sizeof(float));
}

WinogradGradient::WinogradGradient(const at::Tensor& weight)
    : filters_(transformed(weight.detach())) {}

at::Tensor WinogradGradient::operator()(const at::Tensor& gradient, const Padding& padding) const {
  const at::MemoryFormat format = gradient.suggest_memory_format();
  const at::Tensor given = gradient.contiguous(format);
  const Planes from(given);
  const std::int64_t above = 2 - padding[0], left = 2 - padding[1];
  at::Tensor result = at::empty(
      {given.size(0), filters_.size(2), from.height + 2 * above - 2, from.width + 2 * left - 2},
      given.options().memory_format(format));
  const Planes to(result);
  const std::int64_t down = tiles(to.height), across = tiles(to.width);
  // So many tiles at a time that a product of matrices is worth reading the filters, and no more.
  constexpr std::int64_t enough = 96;
  const std::int64_t rows = given.size(0) * down;
  const std::int64_t together = std::min((enough + across - 1) / across, rows);
  const at::Tensor all_terms = matrices(together * across, from.channels);
  const at::Tensor all_sums = matrices(together * across, to.channels);
  std::vector<float> strip;
  for (std::int64_t first = 0; first < rows; first += together) {
    const std::int64_t count = std::min(together, rows - first);
    const at::Tensor terms = all_terms.narrow(1, 0, count * across);
    at::Tensor sums = all_sums.narrow(1, 0, count * across);
    for (std::int64_t i = 0; i < count; ++i)
      scatter_tiles(given.data_ptr<float>() + (first + i) / down * from.by_image, from,
                    (first + i) % down * made - above, -left, across,
                    {terms.data_ptr<float>() + i * across * from.channels, terms.stride(0)}, strip);
    at::bmm_out(sums, terms, filters_);
    for (std::int64_t i = 0; i < count; ++i)
      gather_tiles({sums.data_ptr<float>() + i * across * to.channels, sums.stride(0)}, across,
                   result.data_ptr<float>() + (first + i) / down * to.by_image, to,
                   (first + i) % down * made, strip);
  }
  return result;
}

}  // namespace microtome::host
