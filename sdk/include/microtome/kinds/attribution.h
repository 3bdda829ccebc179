#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "microtome/kinds/score_function.h"
#include "microtome/stage_spec.h"

namespace [[gnu::visibility("default")]] microtome {

/// Attributions of a batch.
struct Attributions {
  at::Tensor values;              ///< like the value at the hook point: N x ...
  at::Tensor score;               ///< the target's score at the input, [N]
  at::Tensor completeness_delta;  ///< sum of attributions minus score difference, [N]; undefined
                                  ///< for methods without completeness
  std::vector<std::pair<std::string, at::Tensor>> more;  ///< further tensors, N first
  Axes axes = {};  ///< of `values` after N; empty: those of the value at the hook point
};

/// What a batch of samples brings to a method.
struct AttributionInput {
  const Model& model;
  const NamedTensors& inputs;  ///< bound to the model's inputs
  const Batch& batch;
  const Dataset* data = nullptr;  ///< for baselines made from the data
  /// What is explained, when it was decided on other inputs than these (noisy ones, say); nullptr:
  /// the method's own target, decided here.
  const TargetScore* target = nullptr;
};

/// Parameters that every attribution method has.
struct AttributionParams {
  HookPoint at = parse_hook_point("input");
  Target target = parse_target("predicted");
};

/// An attribution method that others can call; see `Stage::capability`.
class AttributionMethod {
 public:
  static constexpr const char* capability = "microtome.attribution/1";
  virtual ~AttributionMethod();
  /// [any thread]
  virtual Attributions attribute(const AttributionInput& input, Context& context) const = 0;
  virtual const AttributionParams& common() const = 0;
  /// The target made concrete for the batch, with the direction or the reference that it names.
  virtual TargetScore target_score(const AttributionInput& input, Context& context) const = 0;
};

/// What a run of attributions adds up to.
struct AttributionTotals {
  std::int64_t samples = 0;
  double delta_sum = 0, delta_max = 0;
  std::int64_t deltas = 0;
  /// Of the first samples, C x H x W in 0..1, to look at; none where the data are no images.
  std::vector<at::Tensor> images;
  Axes axes;  ///< of the attributions after N
};

/// Base of the attribution stages: the author writes `attribute`, the base does ports, loop,
/// writing, metrics and views.
class AttributionStage : public StreamingStage<AttributionTotals>, public AttributionMethod {
 public:
  explicit AttributionStage(AttributionParams params) : common_(std::move(params)) {}

  void plan(const PlanInputs& inputs, Plan& plan) const override;
  void batch(State& state, Chunk& chunk, Context& context) const override;
  void merge(State& earlier, State&& later) const override;
  void finish(State& state, Context& context) const override;
  void* capability(std::string_view id) override;

  const AttributionParams& common() const override { return common_; }
  TargetScore target_score(const AttributionInput& input, Context& context) const override;

 protected:
  /// The target's score of a batch as a function of the value at `at`, or at another hook point.
  ScoreFunction score_function(const AttributionInput& input, Context& context) const;
  ScoreFunction score_function(const AttributionInput& input, const HookPoint& at,
                               Context& context) const;

 private:
  TargetScore decide(const AttributionInput& input, const Recording& plain, Context& context) const;

  AttributionParams common_;
};

/// Says the ports of an attribution stage.
template <class Params>
void describe_attribution_ports(StageSpec<Params>& spec) {
  spec.input("model", {kind::model}).doc("the network that is explained");
  spec.input("data", {kind::dataset}).doc("the samples that are explained");
  spec.input("reference", {kind::model})
      .optional()
      .doc("for the target kl(reference): the model whose scores are compared with");
  spec.output("attributions", kind::attributions)
      .doc(
          "`attributions`, and for each sample `score`, `target` and, where the method has it, "
          "`completeness_delta`");
  spec.capability(AttributionMethod::capability);
}

/// Says the ports and common parameters of an attribution stage. `of_a_layer`: the method has no
/// meaning at the input, so `at` must be given.
template <class Params>
void describe_attribution(StageSpec<Params>& spec, bool of_a_layer = false) {
  describe_attribution_ports(spec);
  auto at = spec.parameter("at", &Params::at).of("model");
  if (of_a_layer) {
    at.required().doc("hook point of the layer whose value is credited");
  } else {
    at.doc("hook point whose value is credited; `input` is model space, `pixels` pixel space");
  }
  spec.parameter("target", &Params::target).doc("the score that is explained");
}

}  // namespace microtome
