#pragma once

#include <functional>
#include <vector>

#include "logistic_regression.h"
#include "microtome/sdk.h"

namespace linear_probe {

/// Rows of features whose samples have classes; the rows of a sample stay together in a fold.
struct Labelled {
  at::Tensor rows;     ///< [samples * positions, D] float64
  at::Tensor classes;  ///< [samples] int64
  std::int64_t positions = 1;
  std::int64_t class_count = 0;
};

struct Settings {
  std::int64_t folds = 5;
  std::int64_t inner_folds = 3;
  std::vector<double> l2;  ///< candidates
};

/// Folds of samples, as even in `classes` as can be: [samples] int64.
at::Tensor stratified_folds(const at::Tensor& classes, std::int64_t folds, at::Generator generator);

/// What one vector of classes came to.
struct Outcome {
  at::Tensor predicted;    ///< [rows] int64, each by a probe that saw nothing of its sample
  std::vector<double> l2;  ///< that was chosen in each fold
  std::int64_t not_converged = 0;
};

/// Nested cross-validation for several vectors of classes, [samples] each, on the same rows and the
/// same folds. Means, deviations and l2 come from the training part alone. `fold_done` is called
/// after each fold.
std::vector<Outcome> cross_validate(const Labelled& data, const std::vector<at::Tensor>& classes,
                                    const at::Tensor& folds, const Settings& settings,
                                    microtome::Context& context,
                                    const std::function<void()>& fold_done);

/// A probe on all rows, its l2 chosen by inner folds, in the units of the features.
struct FinalProbe {
  LogisticRegression probe;
  double l2 = 0;
};
FinalProbe fit_on_all(const Labelled& data, const at::Tensor& folds, const Settings& settings,
                      microtome::Context& context);

}  // namespace linear_probe
