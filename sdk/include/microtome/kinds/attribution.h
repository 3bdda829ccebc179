#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "microtome/stage_spec.h"
#include "microtome/target_score.h"

namespace [[gnu::visibility("default")]] microtome {

/// Attributions of a batch.
struct Attributions {
  at::Tensor values;              ///< like the value at the hook point: N x ...
  at::Tensor score;               ///< the target's score at the input, [N]
  at::Tensor completeness_delta;  ///< sum of attributions minus score difference, [N]; undefined
                                  ///< for methods without completeness
  std::vector<std::pair<std::string, at::Tensor>> more;  ///< further tensors, N first
};

/// What a batch of samples brings to a method.
struct AttributionInput {
  const Model& model;
  const NamedTensors& inputs;  ///< bound to the model's inputs
  const Batch& batch;
  const Dataset* data = nullptr;  ///< for baselines made from the data
};

/// An attribution method that others can call; see `Stage::capability`.
class AttributionMethod {
 public:
  static constexpr const char* capability = "microtome.attribution/1";
  virtual ~AttributionMethod();
  /// [any thread]
  virtual Attributions attribute(const AttributionInput& input, Context& context) const = 0;
};

/// Parameters that every attribution method has.
struct AttributionParams {
  HookPoint at = parse_hook_point("input");
  Target target = parse_target("predicted");
};

/// What a run of attributions adds up to.
struct AttributionTotals {
  std::int64_t samples = 0;
  double delta_sum = 0, delta_max = 0;
  std::int64_t deltas = 0;
  at::Tensor images;  ///< of the first samples, in 0..1, to look at; undefined without images
};

/// Base of the attribution stages: the author writes `attribute`, the base does ports, loop,
/// writing, metrics and views.
class AttributionStage : public StreamingStage<AttributionTotals>, public AttributionMethod {
 public:
  explicit AttributionStage(AttributionParams params) : common_(std::move(params)) {}

  Plan plan(const PlanInputs& inputs) const override;
  void batch(State& state, Chunk& chunk, Context& context) const override;
  void merge(State& earlier, State&& later) const override;
  void finish(State& state, Context& context) const override;
  void* capability(std::string_view id) override;

  const AttributionParams& common() const { return common_; }

 protected:
  /// The target made concrete for a batch, with the direction or the reference that it names.
  /// `plain` is an unedited run on it.
  TargetScore target_score(const AttributionInput& input, const Recording& plain,
                           Context& context) const;

 private:
  AttributionParams common_;
};

/// Says the ports and common parameters of an attribution stage.
template <class Params>
void describe_attribution(StageSpec<Params>& spec) {
  spec.input("model", {kind::model}).doc("the network that is explained");
  spec.input("data", {kind::dataset}).doc("the samples that are explained");
  spec.input("reference", {kind::model})
      .optional()
      .doc("for the target kl(reference): the model whose scores are compared with");
  spec.output("attributions", kind::attributions)
      .doc(
          "`attributions`, and for each sample `score`, `target` and, where the method has it, "
          "`completeness_delta`");
  spec.parameter("at", &Params::at)
      .of("model")
      .doc("hook point whose value is credited; `input` is model space, `pixels` pixel space");
  spec.parameter("target", &Params::target).doc("the score that is explained");
  spec.capability(AttributionMethod::capability);
}

}  // namespace microtome
