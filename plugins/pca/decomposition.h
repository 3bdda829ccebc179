#pragma once

#include <functional>

#include "microtome/sdk.h"

namespace pca {

/// Rows that are read part by part, any number of times.
struct Rows {
  std::int64_t count = 0, features = 0;
  /// Calls `take` with [part, D] float64, in order.
  std::function<void(const std::function<void(const at::Tensor&)>& take)> each;
};

/// Principal axes of centred rows.
struct Decomposition {
  at::Tensor mean;        ///< [D] float64
  at::Tensor directions;  ///< [K, D] float64, orthonormal; the largest entry of each is positive
  at::Tensor variance;    ///< [K] float64, along each, by n - 1
  double total_variance = 0;
};

/// By the covariance of features, D x D, or, when there are fewer rows than features, by the inner
/// products of rows, N x N. One of both must fit in memory.
Decomposition exact(const Rows& rows, std::int64_t components);

/// Randomised subspace iteration (Halko, Martinsson, Tropp 2011), with the rows streamed: memory is
/// D x (components + oversampling) whatever the number of rows.
Decomposition randomised(const Rows& rows, std::int64_t components, std::int64_t oversampling,
                         std::int64_t iterations, const at::Generator& generator);

}  // namespace pca
