#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "microtome/model.h"
#include "microtome/target_score.h"

namespace [[gnu::visibility("default")]] microtome {

/// A point of a quadrature over [0, 1].
struct QuadratureNode {
  double position = 0;
  double weight = 0;
};

/// The score of each sample of a batch as a function of the value at one hook point: what comes
/// before that value is not computed again. Refers to the model and the inputs, which must outlive
/// it. [immutable; any number of threads]
///
/// Where a function takes `samples`, [M] int64, row i of the points stands in for the value of
/// sample `samples[i]`; undefined means all N samples in order. Points have the type and the
/// trailing shape of `value()`.
class ScoreFunction {
 public:
  /// Rows that `line_integral` lets through the model together, where a batch has fewer and there
  /// are nodes enough: the weights of late layers are read once for all of them. For
  /// `Plan::rows_at_least`.
  static constexpr std::int64_t rows_at_once = 8;

  /// Runs the model on the batch once, without edits; `decide` makes the target's score from that.
  ScoreFunction(const Model& model, const NamedTensors& inputs, const HookPoint& at,
                const std::function<TargetScore(const Recording&)>& decide);
  /// Of a target that is decided already: the model runs as far as the hook point alone.
  ScoreFunction(const Model& model, const NamedTensors& inputs, const HookPoint& at,
                const TargetScore& target);

  ScoreFunction(ScoreFunction&&) noexcept;
  ScoreFunction& operator=(ScoreFunction&&) noexcept;
  ~ScoreFunction();

  /// Ids of the N samples, for errors; without them a sample is named by its row.
  void name_samples(std::vector<std::string> ids);

  /// The value at the hook point on the samples themselves, N x ...
  const at::Tensor& value() const;
  /// What its dimensions after N are.
  const Axes& axes() const;
  const TargetScore& target() const;
  const HookPoint& at() const;

  /// A run with `points` in place; what else `pass` asks for must come after them. Its edits come
  /// after this one.
  Recording run(const at::Tensor& points, Pass pass, const at::Tensor& samples = {}) const;
  /// Scores [M] of such a run; what the target captures starts at `recording.captured[offset]`.
  at::Tensor score(const Recording& recording, const at::Tensor& samples = {},
                   std::size_t offset = 0) const;

  /// Scores [N] of the samples themselves, those of `scores(value())`; from the first run where it
  /// went as far as the target.
  at::Tensor clean_scores() const;
  /// What the point of a row is, for errors: `the baseline`.
  using NameOfPoint = std::function<std::string(std::int64_t row)>;
  /// Scores [M], without a graph. Throws `Error` that names the sample when one is not finite;
  /// `of` says in it what the points are.
  at::Tensor scores(const at::Tensor& points, const at::Tensor& samples = {},
                    const std::string& of = "the changed sample") const;
  at::Tensor scores(const at::Tensor& points, const at::Tensor& samples,
                    const NameOfPoint& of) const;

  struct Gradient {
    at::Tensor scores;  ///< [M]
    at::Tensor values;  ///< of each score by its own point, like the points
  };
  /// Scores and their gradients, by `rules` where given. Throws `Error` that names the sample when
  /// a number is not finite, and what the point is by `of` where the score is not.
  Gradient gradient(const at::Tensor& points, const at::Tensor& samples = {},
                    const BackwardRules& rules = {}, const NameOfPoint& of = {}) const;

  /// As `gradient`, but what is sent back from the outputs (or from the unit or the direction that
  /// is the target) is each one's share of the score, derivative times value, as layer-wise
  /// relevance propagation begins (Bach et al. 2015).
  Gradient relevance(const at::Tensor& points, const at::Tensor& samples,
                     const BackwardRules& rules) const;

  /// Sum over `nodes` of weight times the gradient at start + position (end - start), float64, M x
  /// ... The ends have M rows; of few rows several nodes go through the model at once.
  /// `check` is called before each pass and may throw. Where the model has an affine prefix
  /// (`Model::affine_prefix`), the sum is formed behind it and taken back through it once. Throws
  /// `Error` that names the sample when a gradient is not finite.
  at::Tensor line_integral(const at::Tensor& start, const at::Tensor& end,
                           const std::vector<QuadratureNode>& nodes, const at::Tensor& samples,
                           const std::function<void()>& check) const;

 private:
  /// Whether the target is computed from the value at the hook point.
  bool is_computed_from_here() const;
  /// Throws `Error` where the scores have no gradient by the value, although they are made from it.
  void demand_gradient(const at::Tensor& scores) const;
  /// The gradient by the first value of the pass, in the order in memory that it was computed in:
  /// `Recording::gradients` puts it in rows, which costs as much as a layer.
  at::Tensor gradient_as_computed(const Recording& recording, const at::Tensor& scores) const;
  /// Throws `Error` where `rows`, of the `samples`, are not all finite.
  void demand_finite(const at::Tensor& rows, const at::Tensor& samples,
                     const std::string& what) const;
  void demand_finite_scores(const at::Tensor& scores, const at::Tensor& samples,
                            const NameOfPoint& of) const;
  ScoreFunction(const Model& model, const NamedTensors& inputs, const HookPoint& at,
                const std::function<TargetScore(const Recording&)>& decide, bool needs_outputs);
  /// `line_integral` of the gradients by the value at `by`, in the order in memory that they are
  /// computed in. Undefined without nodes that weigh.
  at::Tensor sum_of_gradients(const HookPoint& by, const at::Tensor& start, const at::Tensor& end,
                              const std::vector<QuadratureNode>& nodes, const at::Tensor& samples,
                              const std::function<void()>& check) const;
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace microtome
