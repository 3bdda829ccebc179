#include "gradient/smooth_grad.h"

#include <utility>

#include "inner_method.h"
#include "result.h"

namespace attribution {

using namespace microtome;

namespace {

/// Apart from the streams of the methods inside.
constexpr std::uint64_t own_streams = std::uint64_t{1} << 61;

}  // namespace

SmoothGrad::SmoothGrad(Params params)
    : AttributionStage(method_of(params.method).common()), params_(std::move(params)) {}

const AttributionMethod& SmoothGrad::method() const { return method_of(params_.method); }

void SmoothGrad::describe(StageSpec<Params>& spec) {
  spec.summary("SmoothGrad and its kin: an attribution method averaged over noisy inputs.");
  spec.details(
      "The target is decided on the input without noise. The noise is normal, in model space, with "
      "a standard deviation that is a share of the sample's own range.");
  spec.paper("Smilkov, Thorat, Kim, Viegas, Wattenberg 2017, SmoothGrad (arXiv 1706.03825)");
  spec.paper("Hooker, Erhan, Kindermans, Kim 2018, SmoothGrad-squared (arXiv 1806.10758)");
  spec.paper("Adebayo, Gilmer, Goodfellow, Kim 2018, VarGrad (arXiv 1810.03307)");
  describe_attribution_ports(spec);
  spec.parameter("method", &Params::method)
      .required()
      .doc("the method; its `at` and `target` are those of the result");
  spec.parameter("smoothing", &Params::smoothing)
      .choices({"mean", "mean_of_squares", "variance"})
      .doc("mean: SmoothGrad; mean_of_squares: SmoothGrad-squared; variance: VarGrad");
  spec.parameter("draws", &Params::draws).range(2, 100000).doc("noisy copies of each sample");
  spec.parameter("noise", &Params::noise)
      .range(0, 10)
      .unit("share of the sample's range")
      .doc("standard deviation of the noise");
}

void SmoothGrad::plan(const PlanInputs& inputs, Plan& plan) const {
  params_.method.stage->plan(inputs, plan);
  plan.random = true;
}

Attributions SmoothGrad::attribute(const AttributionInput& input, Context& context) const {
  const TargetScore target =
      input.target != nullptr ? *input.target : method().target_score(input, context);
  at::Tensor sum, squares;
  for (std::int64_t draw = 0; draw < params_.draws; ++draw) {
    context.check_cancelled();
    NamedTensors noisy;
    for (const auto& [name, value] : input.inputs) {
      if (!value.is_floating_point()) {
        noisy.set(name, value);
        continue;
      }
      at::Tensor noise = at::empty(value.sizes(), at::kFloat);
      for (std::int64_t row = 0; row < noise.size(0); ++row) {
        at::Generator generator = context.generator(
            own_streams + (static_cast<std::uint64_t>(input.batch.position(row)) << 20) +
            static_cast<std::uint64_t>(draw));
        noise[row].normal_(0, params_.noise, generator);
      }
      const at::Tensor in_model = input.model.normalise(value).flatten(1);
      const at::Tensor range = in_model.amax(1) - in_model.amin(1);
      noisy.set(name, value + noise.to(value.options()) * by_row(range, value) *
                                  per_model_unit(input.model, value));
    }
    const AttributionInput drawn{input.model, noisy, input.batch, input.data, &target};
    const at::Tensor values = method().attribute(drawn, context).values.to(at::kDouble);
    sum = sum.defined() ? sum + values : values;
    if (params_.smoothing != Smoothing::mean)
      squares = squares.defined() ? squares + values * values : values * values;
  }
  const auto draws = static_cast<double>(params_.draws);
  at::Tensor result = sum / draws;
  if (params_.smoothing == Smoothing::mean_of_squares) result = squares / draws;
  if (params_.smoothing == Smoothing::variance)
    result = (squares / draws - result * result).clamp_min(0);
  Attributions made;
  made.values = result.to(at::kFloat);
  made.score = target.score(input.model.run(input.inputs, [&] {
    Pass pass;
    pass.capture = target.capture();
    return pass;
  }()));
  if (target.classes().defined()) made.more.emplace_back("target", target.classes());
  return made;
}

}  // namespace attribution
