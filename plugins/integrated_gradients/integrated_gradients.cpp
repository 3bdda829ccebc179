#include "integrated_gradients.h"

#include <algorithm>

namespace integrated_gradients {

using namespace microtome;

namespace {

/// One batch's path at a hook point, and what is needed to run the model along it.
class Path {
 public:
  /// `snapshot`: of the batch, cut at `at`; nullptr: the model runs from its inputs.
  Path(const AttributionInput& input, const HookPoint& at, const TargetScore& score,
       std::shared_ptr<const Snapshot> snapshot, at::Tensor start, at::Tensor end)
      : input_(input),
        at_(at),
        score_(score),
        snapshot_(std::move(snapshot)),
        start_(std::move(start)),
        end_(std::move(end)) {}

  /// Scores [rows] and, when `gradient` is given, the gradients at the point `t` of the path, for
  /// these rows.
  at::Tensor evaluate(double t, const at::Tensor& rows, at::Tensor* gradient) const {
    const at::Tensor from = start_.index_select(0, rows), to = end_.index_select(0, rows);
    // The ends themselves, not a sum that rounds.
    const at::Tensor point = t == 0 ? from : t == 1 ? to : from + t * (to - from);
    Pass pass;
    pass.capture = score_.capture();
    if (gradient != nullptr) pass.differentiate = {at_};
    pass.edits = {{at_, [&point](const at::Tensor&) { return point; }}};
    pass.record_gradients = gradient != nullptr;
    const Recording recording = run(rows, pass);
    const at::Tensor scores = score_.rows(rows).score(recording);
    if (gradient != nullptr) *gradient = recording.gradients(scores)[0];
    return scores.detach();
  }

  const at::Tensor& start() const { return start_; }
  const at::Tensor& end() const { return end_; }

 private:
  Recording run(const at::Tensor& rows, const Pass& pass) const {
    // What comes before the hook point is the same at each step.
    if (snapshot_ != nullptr && rows.size(0) == snapshot_->rows())
      return input_.model.resume(*snapshot_, pass);
    NamedTensors inputs;
    for (const auto& [name, value] : input_.inputs)
      inputs.set(name, value.index_select(0, rows.to(value.device())));
    return input_.model.run(inputs, pass);
  }

  const AttributionInput& input_;
  const HookPoint& at_;
  const TargetScore& score_;
  std::shared_ptr<const Snapshot> snapshot_;
  at::Tensor start_, end_;
};

at::Tensor row_sums(const at::Tensor& values) { return values.flatten(1).sum(1); }

/// Attributions along one path, with what was reached.
struct Integral {
  at::Tensor attributions;  ///< float64
  at::Tensor delta;         ///< float64
  at::Tensor steps;         ///< int64, evaluations of the gradient
  at::Tensor converged;     ///< bool
};

Integral integrate(const Path& path, Rule rule, std::int64_t steps, const at::Tensor& difference,
                   Context& context, const at::Tensor& rows) {
  at::Tensor total;
  const std::vector<Node> nodes = quadrature(rule, steps);
  for (const Node& node : nodes) {
    if (node.weight == 0) continue;
    context.check_cancelled();
    at::Tensor gradient;
    path.evaluate(node.position, rows, &gradient);
    const at::Tensor weighted = gradient.to(at::kDouble) * node.weight;
    total = total.defined() ? total + weighted : weighted;
  }
  Integral result;
  result.attributions = total * (path.end() - path.start()).index_select(0, rows).to(at::kDouble);
  result.delta = row_sums(result.attributions) - difference.index_select(0, rows);
  result.steps = at::full({rows.size(0)}, static_cast<std::int64_t>(nodes.size()), at::kLong);
  result.converged = at::ones({rows.size(0)}, at::kBool);
  return result;
}

/// Doubles the steps until each sample's completeness delta is within the tolerance of its score
/// difference.
Integral refine(const Path& path, const Params& params, const at::Tensor& difference,
                Context& context, const at::Tensor& all) {
  std::int64_t steps = fitting_steps(params.rule, std::min<std::int64_t>(16, params.max_steps));
  Integral result = integrate(path, params.rule, steps, difference, context, all);
  while (true) {
    const at::Tensor fine =
        result.delta.abs() <= params.tolerance * difference.abs().clamp_min(1e-6);
    result.converged = fine;
    const at::Tensor open = fine.logical_not().nonzero().squeeze(1);
    steps *= 2;
    if (open.numel() == 0 || fitting_steps(params.rule, steps) > params.max_steps) return result;
    const Integral better = integrate(path, params.rule, steps, difference, context, open);
    result.attributions.index_copy_(0, open, better.attributions);
    result.delta.index_copy_(0, open, better.delta);
    result.steps.index_copy_(0, open, better.steps);
  }
}

}  // namespace

IntegratedGradients::IntegratedGradients(Params params)
    : AttributionStage(params), params_(std::move(params)) {
  for (const std::string& text : params_.baseline) baselines_.push_back(Baseline::parse(text));
  if (baselines_.empty()) throw Error("baseline: name one at least");
  if (const auto* steps = std::get_if<std::int64_t>(&params_.steps))
    quadrature(params_.rule, *steps);
}

void IntegratedGradients::describe(StageSpec<Params>& spec) {
  spec.summary(
      "Integrated gradients: what each input, or each unit of a layer, adds to a score compared "
      "with a baseline.");
  spec.details(
      "Attributions sum to the score difference between input and baseline, up to the completeness "
      "delta, which is written for each "
      "sample. At a layer the path is the straight line between its values at the baseline and at "
      "the input. Several baselines are averaged.");
  spec.paper(
      "Sundararajan, Taly, Yan 2017, Axiomatic attribution for deep networks (arXiv 1703.01365)");
  describe_attribution(spec);
  spec.parameter("steps", &Params::steps)
      .range(1, 65536)
      .doc(
          "evaluations of the gradient (intervals for trapezoid, simpson, boole), or auto: doubled "
          "from 16 until the completeness delta is within the tolerance, for each sample");
  spec.parameter("rule", &Params::rule)
      .choices(rule_words())
      .doc("how the integral is approximated; all weights sum to 1");
  spec.parameter("baseline", &Params::baseline)
      .doc(
          "zeros (in the space of `at`), black, mean_image, mean_colour, blur[:sigma in pixels], "
          "noise[:std], or a list of them, averaged");
  spec.parameter("tolerance", &Params::tolerance)
      .range(1e-9, 1)
      .unit("share of the score difference")
      .doc("for steps: auto");
  spec.parameter("max_steps", &Params::max_steps)
      .range(1, 65536)
      .doc("for steps: auto; samples that do not get there are marked in `converged`");
}

Plan IntegratedGradients::plan(const PlanInputs& inputs) const {
  Plan plan = AttributionStage::plan(inputs);
  plan.random = std::any_of(baselines_.begin(), baselines_.end(),
                            [](const Baseline& baseline) { return baseline.is_random(); });
  const Model* model = inputs.model("model");
  for (std::size_t i = 0; i < baselines_.size(); ++i) {
    if (baselines_[i].kind == Baseline::Kind::black && model != nullptr && !model->normalises()) {
      inputs.problems().add({},
                            "baseline: black is pixel 0, and nothing says what that is in model "
                            "space; give the model input: {mean, std}, or take zeros");
    }
    if (baselines_[i].is_of_pixels() && model != nullptr && model->inputs().size() != 1) {
      inputs.problems().add(
          {}, "baseline: " + params_.baseline[i] +
                  " is an image, and the model has several inputs; take zeros or noise");
    }
  }
  return plan;
}

Attributions IntegratedGradients::attribute(const AttributionInput& input, Context& context) const {
  const HookPoint& at = common().at;
  Pass plain;
  plain.capture = {at};
  const bool at_layer =
      at.module != "pixels" && at.module != "input" && at.module.rfind("input.", 0) != 0;
  if (at_layer && input.model.resolve(at).can_cut) plain.cuts = {{at}};
  const Recording recording = input.model.run(input.inputs, plain);
  const TargetScore target = target_score(input, recording, context);
  const at::Tensor end = recording.captured[0];
  const std::shared_ptr<const Snapshot> snapshot =
      recording.snapshots.empty() ? nullptr : recording.snapshots[0];
  const at::Tensor rows =
      at::arange(input.batch.size(), at::TensorOptions().dtype(at::kLong).device(end.device()));

  at::Tensor values, delta, steps, converged, score;
  for (std::size_t i = 0; i < baselines_.size(); ++i) {
    const Path path(input, at, target, snapshot,
                    start_of_path(input, baselines_[i], i, end, context), end);
    score = path.evaluate(1, rows, nullptr).to(at::kDouble);
    const at::Tensor difference = score - path.evaluate(0, rows, nullptr).to(at::kDouble);
    const auto* fixed = std::get_if<std::int64_t>(&params_.steps);
    const Integral integral = fixed != nullptr
                                  ? integrate(path, params_.rule, *fixed, difference, context, rows)
                                  : refine(path, params_, difference, context, rows);
    const double share = 1.0 / static_cast<double>(baselines_.size());
    values = i == 0 ? integral.attributions * share : values + integral.attributions * share;
    delta = i == 0 ? integral.delta * share : delta + integral.delta * share;
    steps = i == 0 ? integral.steps : steps + integral.steps;
    converged = i == 0 ? integral.converged : converged.logical_and(integral.converged);
  }
  Attributions result;
  result.values = values.to(at::kFloat);
  result.score = score.to(at::kFloat);
  result.completeness_delta = delta;
  result.more = {{"steps", steps}};
  if (target.classes().defined()) result.more.emplace_back("target", target.classes());
  if (std::holds_alternative<std::monostate>(params_.steps)) {
    result.more.emplace_back("converged", converged);
    const auto open = converged.logical_not().sum().item<std::int64_t>();
    if (open > 0) {
      context.log(LogLevel::warning,
                  std::to_string(open) + " of samples " + std::to_string(input.batch.first) +
                      " and on did not reach the tolerance within " +
                      std::to_string(params_.max_steps) + " steps; they are marked in `converged`");
    }
  }
  return result;
}

at::Tensor IntegratedGradients::start_of_path(const AttributionInput& input,
                                              const Baseline& baseline, std::size_t number,
                                              const at::Tensor& end, Context& context) const {
  const HookPoint& at = common().at;
  NamedTensors inputs = input.inputs;
  Pass pass;
  pass.capture = {at};
  if (baseline.is_of_pixels()) {
    const at::Tensor images = inputs.begin()->second;
    if (images.dim() != 4) throw Error("the baseline needs images, N x C x H x W");
    at::Tensor mean;
    if (baseline.kind == Baseline::Kind::mean_image || baseline.kind == Baseline::Kind::mean_colour)
      mean = mean_of(*input.data);
    inputs.set(inputs.begin()->first, pixel_baseline(baseline, images, mean));
    return input.model.run(inputs, pass).captured[0];
  }
  const auto made = [&](const at::Tensor& like) -> at::Tensor {
    if (baseline.kind == Baseline::Kind::zeros) return at::zeros_like(like);
    at::Tensor noise = at::empty(like.sizes(), at::kFloat);
    for (std::int64_t row = 0; row < noise.size(0); ++row) {
      at::Generator generator =
          context.generator(static_cast<std::uint64_t>(input.batch.first + row) * 64 + number);
      noise[row].normal_(0, baseline.amount, generator);
    }
    return noise.to(like.options());
  };
  // In the space of the hook point when that is an input, else in model space.
  if (at.module == "pixels" || at.module == "input" || at.module.rfind("input.", 0) == 0)
    return made(end);
  for (const PortInfo& port : input.model.inputs()) {
    const at::Tensor& value = inputs.at(port.name);
    if (!value.is_floating_point()) continue;
    pass.edits.push_back({parse_hook_point("input." + port.name), made});
  }
  if (pass.edits.empty())
    throw Error("the model has no real-valued input, so the path at \"" + at.text() +
                "\" has no baseline; take `at` and a baseline there");
  return input.model.run(inputs, pass).captured[0];
}

at::Tensor IntegratedGradients::mean_of(const Dataset& data) const {
  const std::lock_guard lock(mean_->mutex);
  if (!mean_->image.defined() || mean_->of != &data) {
    std::string field;
    for (const FieldInfo& info : data.info().fields) {
      if (field.empty() && info.shape.size() == 3) field = info.name;
    }
    if (field.empty()) throw Error("the dataset has no images to take a mean of");
    mean_->image = mean_image_of(data, field);
    mean_->of = &data;
  }
  return mean_->image;
}

}  // namespace integrated_gradients
