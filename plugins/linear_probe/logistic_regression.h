#pragma once

#include "microtome/tensor.h"

namespace linear_probe {

/// Multinomial logistic regression: scores x W^T + b.
struct LogisticRegression {
  at::Tensor weights;  ///< [C, D] float64
  at::Tensor bias;     ///< [C] float64
  bool converged = false;

  at::Tensor predict(const at::Tensor& rows) const;
};

/// Least mean cross-entropy + l2 / 2 |W|^2 (the bias is free) by L-BFGS with a strong Wolfe line
/// search (Nocedal, Wright 2006), started at `start` when it is given.
/// `rows` [N, D] float64, `classes` [N] int64.
LogisticRegression fit(const at::Tensor& rows, const at::Tensor& classes, std::int64_t class_count,
                       double l2, const LogisticRegression* start = nullptr);

}  // namespace linear_probe
