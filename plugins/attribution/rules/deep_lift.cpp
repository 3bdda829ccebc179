#include "rules/deep_lift.h"

#include <sstream>

#include "result.h"
#include "rules/rule_checks.h"

namespace attribution {

using namespace microtome;

namespace {

/// A sample and its reference.
constexpr std::int64_t rows_per_sample = 2;

struct Contributions {
  at::Tensor values;            ///< float64
  at::Tensor scores, baseline;  ///< float64, [N]
};

/// Multipliers times differences, one reference for each sample; `name` is the references', for
/// errors.
Contributions contributions(const ScoreFunction& score, const at::Tensor& reference,
                            DeepLiftRule rule, const std::string& name) {
  const at::Tensor& value = score.value();
  const std::int64_t samples = value.size(0);
  const at::Tensor rows = at::arange(samples, at::kLong).repeat({rows_per_sample});
  const ScoreFunction::Gradient multipliers = score.gradient(
      at::cat({value, reference}), rows, deep_lift_rules(rule, samples),
      [&](std::int64_t row) { return row < samples ? std::string("the sample itself") : name; });
  const at::Tensor scores = multipliers.scores.to(at::kDouble);
  return {multipliers.values.narrow(0, 0, samples).to(at::kDouble) * (value - reference),
          scores.narrow(0, 0, samples), scores.narrow(0, samples, samples)};
}

/// The mean over references, with its completeness delta.
class Mean {
 public:
  void add(const Contributions& more) {
    values_ = values_.defined() ? values_ + more.values : more.values;
    baseline_ = baseline_.defined() ? baseline_ + more.baseline : more.baseline;
    scores_ = more.scores;
    ++count_;
  }
  Attributions result(const ScoreFunction& score, const std::vector<std::string>& ids) const {
    const auto count = static_cast<double>(count_);
    Attributions result = attributions(score, scores_, values_ / count);
    const at::Tensor sums = row_sums(values_ / count), baseline = baseline_ / count;
    result.completeness_delta = sums - (scores_ - baseline);
    demand_sums(sums, baseline, ids);
    return result;
  }

 private:
  /// The rules are exact but for rounding: far from the difference the values mean nothing.
  void demand_sums(const at::Tensor& sums, const at::Tensor& baseline,
                   const std::vector<std::string>& ids) const {
    const at::Tensor difference = scores_ - baseline;
    const at::Tensor allowed =
        0.1 * difference.abs() + 0.01 * (scores_.abs() + baseline.abs()) + 1e-5;
    const at::Tensor wrong = ((sums - difference).abs() > allowed).nonzero();
    if (wrong.numel() == 0) return;
    const std::int64_t row = wrong[0].item<std::int64_t>();
    std::ostringstream message;
    message << "sample \"" << ids.at(static_cast<std::size_t>(row))
            << "\": the contributions sum to " << sums[row].item<double>()
            << ", where the score differs from the baseline's by " << difference[row].item<double>()
            << "; they are lost in rounding, as when a value is divided by nearly 0 at the "
               "baseline: take another baseline, or integrated_gradients";
    throw Error(message.str());
  }

  at::Tensor values_, baseline_, scores_;
  std::int64_t count_ = 0;
};

const std::vector<std::string>& deep_lift_rule_words() {
  static const std::vector<std::string> words = {"rescale", "reveal_cancel"};
  return words;
}

template <class Params>
void describe_rule(StageSpec<Params>& spec) {
  spec.parameter("rule", &Params::rule)
      .choices(deep_lift_rule_words())
      .doc(
          "rescale: in proportion to the difference of a nonlinear operator's input; "
          "reveal_cancel: its positive and negative parts by themselves, so that inputs which "
          "cancel are seen");
}

void check(const PlanInputs& inputs, const AttributionParams& params, DeepLiftRule rule) {
  check_linear_target(inputs, params.target, "deep_lift");
  check_rules(inputs, params, deep_lift_rules(rule, 1), rows_per_sample);
}

void plan_rows(Plan& plan, const PlanInputs& inputs) {
  plan.rows_per_sample = rows_per_sample;
  plan.bytes_per_sample = static_cast<double>(rows_per_sample) * bytes_of_rules(inputs);
}

constexpr const char* details =
    "The rules act on the network's operators, so functional and repeated ReLUs, additions of "
    "branches and overlapping max pooling are right, and an operator without a rule is an error. "
    "Batch norm and additions are linear; of a product of two values each gets the mean of the "
    "other; where an input differs by less than 1e-6 the gradient stands for the multiplier. "
    "Attributions sum to the score difference, up to rounding.";

}  // namespace

void DeepLift::describe(StageSpec<Params>& spec) {
  spec.summary(
      "DeepLIFT: what each input adds to a score compared with a baseline, in one pass back.");
  spec.details(details);
  spec.paper(
      "Shrikumar, Greenside, Kundaje 2017, Learning important features through propagating "
      "activation differences (arXiv 1704.02685)");
  describe_attribution(spec);
  describe_baselines(spec);
  describe_rule(spec);
}

void DeepLift::plan(const PlanInputs& inputs, Plan& plan) const {
  check(inputs, common(), rule_);
  BaselineStage::plan(inputs, plan);
  plan_rows(plan, inputs);
}

Attributions DeepLift::attribute(const AttributionInput& input, Context& context) const {
  const ScoreFunction score = score_function(input, context);
  Mean mean;
  for (std::size_t i = 0; i < baselines().size(); ++i) {
    context.check_cancelled();
    mean.add(contributions(score,
                           baselines().at_hook(input, common().at, i, score.value(), context),
                           rule_, baseline_words));
  }
  return mean.result(score, input.batch.ids);
}

void DeepLiftShap::describe(StageSpec<Params>& spec) {
  spec.summary("DeepLIFT-SHAP: DeepLIFT averaged over references from the data.");
  spec.details(details);
  spec.paper(
      "Lundberg, Lee 2017, A unified approach to interpreting model predictions (arXiv "
      "1705.07874)");
  describe_attribution(spec);
  describe_background(spec);
  describe_rule(spec);
}

void DeepLiftShap::plan(const PlanInputs& inputs, Plan& plan) const {
  check(inputs, common(), rule_);
  AttributionStage::plan(inputs, plan);
  plan.random = true;
  plan_rows(plan, inputs);
}

Attributions DeepLiftShap::attribute(const AttributionInput& input, Context& context) const {
  const ScoreFunction score = score_function(input, context);
  const Background background =
      background_at_hook(input, common().at, background_, score.value(), context);
  Mean mean;
  for (std::int64_t i = 0; i < background.values.size(0); ++i) {
    context.check_cancelled();
    mean.add(contributions(score, background.values[i].expand_as(score.value()), rule_,
                           background.name(i)));
  }
  return mean.result(score, input.batch.ids);
}

}  // namespace attribution
