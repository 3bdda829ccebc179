#include "cross_validation.h"

#include <algorithm>
#include <numeric>

namespace linear_probe {

using namespace microtome;

namespace {

/// Standardised rows. With more features than rows they are given in the coordinates of the span of
/// the training rows, which holds every solution under an l2 penalty.
class Standardised {
 public:
  explicit Standardised(const at::Tensor& training) {
    mean_ = training.mean(0);
    const at::Tensor deviation = training.std(0, /*unbiased=*/false);
    // A feature that does not vary says nothing.
    scale_ =
        at::where(deviation > 1e-12, 1 / deviation.clamp_min(1e-12), at::zeros_like(deviation));
    const at::Tensor scaled = (training - mean_) * scale_;
    if (training.size(1) <= training.size(0)) {
      training_ = scaled;
      return;
    }
    const auto [values, vectors] = at::linalg_eigh(scaled.mm(scaled.t()));
    const at::Tensor kept = (values > values.max() * 1e-12).nonzero().squeeze(1);
    const at::Tensor lengths = values.index_select(0, kept).sqrt();
    const at::Tensor axes = vectors.index_select(1, kept);
    span_ = scaled.t().mm(axes) / lengths;  // [D, rank], orthonormal columns
    training_ = axes * lengths;
  }
  const at::Tensor& training() const { return training_; }
  at::Tensor apply(const at::Tensor& rows) const {
    const at::Tensor scaled = (rows - mean_) * scale_;
    return span_.defined() ? scaled.mm(span_) : scaled;
  }
  /// A probe on these coordinates as one on the features themselves.
  LogisticRegression undo(const LogisticRegression& probe) const {
    LogisticRegression result = probe;
    at::Tensor weights = span_.defined() ? probe.weights.mm(span_.t()) : probe.weights;
    result.weights = weights * scale_;
    result.bias = probe.bias - result.weights.mv(mean_);
    return result;
  }

 private:
  at::Tensor mean_, scale_, span_, training_;
};

/// Rows of these samples.
at::Tensor rows_of(const at::Tensor& samples, std::int64_t positions) {
  return (samples.unsqueeze(1) * positions + at::arange(positions, at::kLong)).flatten();
}

at::Tensor of_rows(const at::Tensor& by_sample, std::int64_t positions) {
  return by_sample.repeat_interleave(positions, 0);
}

at::Tensor where_equal(const at::Tensor& folds, std::int64_t fold, bool equal) {
  return (equal ? folds == fold : folds != fold).nonzero().squeeze(1);
}

/// Candidates from the strongest to the weakest, so that each starts at the solution before it.
std::vector<double> from_strong_to_weak(std::vector<double> l2) {
  std::sort(l2.rbegin(), l2.rend());
  return l2;
}

/// Which candidate is right most often on inner folds, for each vector of classes; of equals the
/// stronger.
std::vector<std::size_t> choose(const Labelled& data, const std::vector<at::Tensor>& classes,
                                const at::Tensor& samples, const at::Tensor& folds,
                                std::int64_t fold_count, const std::vector<double>& candidates,
                                Context& context) {
  if (candidates.size() == 1) return std::vector<std::size_t>(classes.size(), 0);
  std::vector<std::vector<std::int64_t>> right(classes.size(),
                                               std::vector<std::int64_t>(candidates.size(), 0));
  for (std::int64_t fold = 0; fold < fold_count; ++fold) {
    const at::Tensor training = samples.index_select(0, where_equal(folds, fold, false));
    const at::Tensor held_out = samples.index_select(0, where_equal(folds, fold, true));
    if (training.numel() == 0 || held_out.numel() == 0) continue;
    const Standardised rows(data.rows.index_select(0, rows_of(training, data.positions)));
    const at::Tensor test =
        rows.apply(data.rows.index_select(0, rows_of(held_out, data.positions)));
    context.parallel_for(static_cast<std::int64_t>(classes.size()), [&](std::int64_t k) {
      const auto i = static_cast<std::size_t>(k);
      const at::Tensor wanted = of_rows(classes[i].index_select(0, training), data.positions);
      const at::Tensor truth = of_rows(classes[i].index_select(0, held_out), data.positions);
      LogisticRegression probe;
      for (std::size_t c = 0; c < candidates.size(); ++c) {
        probe = fit(rows.training(), wanted, data.class_count, candidates[c],
                    c == 0 ? nullptr : &probe);
        right[i][c] += (probe.predict(test) == truth).sum().item<std::int64_t>();
      }
    });
  }
  std::vector<std::size_t> chosen;
  chosen.reserve(right.size());
  for (const auto& counts : right) {
    chosen.push_back(
        static_cast<std::size_t>(std::max_element(counts.begin(), counts.end()) - counts.begin()));
  }
  return chosen;
}

/// Inner folds that do not depend on the classes: the samples in turn.
at::Tensor in_turn(std::int64_t samples, std::int64_t folds) {
  return at::arange(samples, at::kLong).remainder(folds);
}

}  // namespace

at::Tensor stratified_folds(const at::Tensor& classes, std::int64_t folds,
                            at::Generator generator) {
  const std::int64_t count = classes.size(0);
  const at::Tensor shuffled = at::randperm(count, generator, at::kLong);
  // Stable, so that samples of a class stay in their shuffled order.
  const at::Tensor order =
      std::get<1>(classes.index_select(0, shuffled).sort(/*stable=*/true, 0, false));
  at::Tensor result = at::empty({count}, at::kLong);
  result.index_put_({shuffled.index_select(0, order)}, at::arange(count, at::kLong) % folds);
  return result;
}

std::vector<Outcome> cross_validate(const Labelled& data, const std::vector<at::Tensor>& classes,
                                    const at::Tensor& folds, const Settings& settings,
                                    Context& context, const std::function<void()>& fold_done) {
  const std::vector<double> candidates = from_strong_to_weak(settings.l2);
  std::vector<Outcome> outcomes(classes.size());
  for (Outcome& outcome : outcomes) outcome.predicted = at::empty({data.rows.size(0)}, at::kLong);
  for (std::int64_t fold = 0; fold < settings.folds; ++fold) {
    context.check_cancelled();
    const at::Tensor training = where_equal(folds, fold, false);
    const at::Tensor held_out = where_equal(folds, fold, true);
    const auto chosen =
        choose(data, classes, training, in_turn(training.size(0), settings.inner_folds),
               settings.inner_folds, candidates, context);
    const Standardised rows(data.rows.index_select(0, rows_of(training, data.positions)));
    const at::Tensor places = rows_of(held_out, data.positions);
    const at::Tensor test = rows.apply(data.rows.index_select(0, places));
    context.parallel_for(static_cast<std::int64_t>(classes.size()), [&](std::int64_t k) {
      const auto i = static_cast<std::size_t>(k);
      const double l2 = candidates[chosen[i]];
      const LogisticRegression probe =
          fit(rows.training(), of_rows(classes[i].index_select(0, training), data.positions),
              data.class_count, l2);
      outcomes[i].predicted.index_put_({places}, probe.predict(test));
      outcomes[i].l2.push_back(l2);
      outcomes[i].not_converged += probe.converged ? 0 : 1;
    });
    fold_done();
  }
  return outcomes;
}

FinalProbe fit_on_all(const Labelled& data, const at::Tensor& folds, const Settings& settings,
                      Context& context) {
  const std::vector<double> candidates = from_strong_to_weak(settings.l2);
  const at::Tensor everyone = at::arange(data.classes.size(0), at::kLong);
  const auto chosen =
      choose(data, {data.classes}, everyone, folds, settings.folds, candidates, context);
  const Standardised rows(data.rows);
  FinalProbe result;
  result.l2 = candidates[chosen[0]];
  result.probe = rows.undo(
      fit(rows.training(), of_rows(data.classes, data.positions), data.class_count, result.l2));
  return result;
}

}  // namespace linear_probe
