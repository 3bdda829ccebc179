#include "decomposition.h"

#include <algorithm>

namespace pca {

using namespace microtome;

namespace {

struct Moments {
  at::Tensor mean;
  double total_variance = 0;
};

double free_rows(const Rows& rows) { return static_cast<double>(rows.count - 1); }

/// Two passes: the mean first, so that large means cost no digits.
Moments moments(const Rows& rows) {
  Moments result;
  result.mean = at::zeros({rows.features}, at::kDouble);
  rows.each([&](const at::Tensor& part) { result.mean += part.sum(0); });
  result.mean /= static_cast<double>(rows.count);
  double squares = 0;
  rows.each([&](const at::Tensor& part) {
    squares += (part - result.mean).square().sum().item<double>();
  });
  result.total_variance = squares / free_rows(rows);
  return result;
}

/// Signs are free; the largest entry of each direction is made positive.
void fix_signs(at::Tensor& directions) {
  const at::Tensor place = directions.abs().argmax(1, true);
  directions = directions * directions.gather(1, place).sign();
}

/// The `count` largest of a symmetric matrix: values, and vectors as rows.
std::pair<at::Tensor, at::Tensor> largest(const at::Tensor& symmetric, std::int64_t count) {
  // The rows are finite, but their squares may not be.
  if (first_not_finite(symmetric))
    throw Error("the features are too large: their products overflow double precision");
  const auto [values, vectors] = [&] {
    try {
      return at::linalg_eigh(symmetric);
    } catch (const c10::Error&) {
      throw Error("the eigenvalues of the features' " + std::to_string(symmetric.size(0)) + " x " +
                  std::to_string(symmetric.size(0)) +
                  " covariance can't be found, as the iteration does not converge; take "
                  "method: randomised with few components");
    }
  }();
  const std::int64_t size = values.size(0);
  return {values.slice(0, size - count, size).flip(0).clamp_min(0),
          vectors.slice(1, size - count, size).flip(1).t().contiguous()};
}

Decomposition by_covariance(const Rows& rows, Moments known, std::int64_t components) {
  at::Tensor covariance = at::zeros({rows.features, rows.features}, at::kDouble);
  rows.each([&](const at::Tensor& part) {
    const at::Tensor centred = part - known.mean;
    covariance.addmm_(centred.t(), centred);
  });
  covariance /= free_rows(rows);
  auto [variance, directions] = largest(covariance, components);
  return {known.mean, directions, variance, known.total_variance};
}

Decomposition by_inner_products(const Rows& rows, Moments known, std::int64_t components) {
  // Of two parts at a time, so that the rows themselves need not fit.
  at::Tensor products = at::zeros({rows.count, rows.count}, at::kDouble);
  std::int64_t first = 0;
  rows.each([&](const at::Tensor& left) {
    const at::Tensor centred = left - known.mean;
    std::int64_t second = 0;
    rows.each([&](const at::Tensor& right) {
      if (second <= first) {
        const at::Tensor block = centred.mm((right - known.mean).t());
        products.narrow(0, first, left.size(0)).narrow(1, second, right.size(0)).copy_(block);
        products.narrow(1, first, left.size(0)).narrow(0, second, right.size(0)).copy_(block.t());
      }
      second += right.size(0);
    });
    first += left.size(0);
  });
  // Clang 14 captures no structured binding in a lambda.
  const std::pair<at::Tensor, at::Tensor> found = largest(products, components);
  at::Tensor directions = at::zeros({components, rows.features}, at::kDouble);
  first = 0;
  rows.each([&](const at::Tensor& part) {
    directions.addmm_(found.second.narrow(1, first, part.size(0)), part - known.mean);
    first += part.size(0);
  });
  const at::Tensor norms = directions.norm(2, {1}, true);
  directions = at::where(norms > 0, directions / norms.clamp_min(1e-300), directions);
  return {known.mean, directions, found.first / free_rows(rows), known.total_variance};
}

}  // namespace

Decomposition exact(const Rows& rows, std::int64_t components) {
  Moments known = moments(rows);
  Decomposition result = rows.features <= rows.count
                             ? by_covariance(rows, std::move(known), components)
                             : by_inner_products(rows, std::move(known), components);
  fix_signs(result.directions);
  return result;
}

Decomposition randomised(const Rows& rows, std::int64_t components, std::int64_t oversampling,
                         std::int64_t iterations, const at::Generator& generator) {
  const Moments known = moments(rows);
  const std::int64_t width =
      std::min(components + oversampling, std::min(rows.features, rows.count));
  at::Tensor basis = at::randn({rows.features, width}, generator, at::kDouble);
  for (std::int64_t pass = 0; pass <= iterations; ++pass) {
    at::Tensor next = at::zeros_like(basis);
    rows.each([&](const at::Tensor& part) {
      const at::Tensor centred = part - known.mean;
      next.addmm_(centred.t(), centred.mm(basis));
    });
    basis = std::get<0>(at::linalg_qr(next));
  }
  at::Tensor inside = at::zeros({width, width}, at::kDouble);
  rows.each([&](const at::Tensor& part) {
    const at::Tensor projected = (part - known.mean).mm(basis);
    inside.addmm_(projected.t(), projected);
  });
  auto [variance, weights] = largest(inside / free_rows(rows), components);
  at::Tensor directions = weights.mm(basis.t());
  fix_signs(directions);
  return {known.mean, directions, variance, known.total_variance};
}

}  // namespace pca
