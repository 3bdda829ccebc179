#include "microtome/kinds/score_function.h"

#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

#include "microtome/finite.h"

namespace microtome {
namespace {

/// Nodes whose gradients are summed before they go into the sum in double precision.
constexpr int most_summed = 8;

}  // namespace

struct ScoreFunction::State {
  const Model* model;
  const NamedTensors* inputs;
  HookPoint at;
  at::Tensor value;
  Axes axes;
  std::shared_ptr<const Snapshot> snapshot;  ///< at the hook point; none at an input
  at::Tensor clean_scores = {};              ///< undefined when the first run did not give them
  std::vector<std::string> ids = {};
  TargetScore target;
};

ScoreFunction::ScoreFunction(const Model& model, const NamedTensors& inputs, const HookPoint& at,
                             const std::function<TargetScore(const Recording&)>& decide)
    : ScoreFunction(model, inputs, at, decide, /*needs_outputs=*/true) {}

ScoreFunction::ScoreFunction(const Model& model, const NamedTensors& inputs, const HookPoint& at,
                             const TargetScore& target)
    : ScoreFunction(
          model, inputs, at, [&](const Recording&) { return target; }, /*needs_outputs=*/false) {}

ScoreFunction::ScoreFunction(const Model& model, const NamedTensors& inputs, const HookPoint& at,
                             const std::function<TargetScore(const Recording&)>& decide,
                             bool needs_outputs) {
  Pass pass;
  pass.outputs = needs_outputs;
  pass.capture = {at};
  const bool cuts_here = !at.is_model_input() && model.resolve(at).can_cut;
  if (cuts_here) pass.cuts.push_back({at});
  const Recording plain = model.run(inputs, pass);
  state_ = std::make_unique<State>(State{.model = &model,
                                         .inputs = &inputs,
                                         .at = at,
                                         .value = plain.captured[0],
                                         .axes = plain.axes[0],
                                         .snapshot = cuts_here ? plain.snapshots[0] : nullptr,
                                         .target = decide(plain)});
  // Nothing that is done here changes such a score; only a whole run can tell what it is.
  const auto is_elsewhere = [&](const HookPoint& hook) {
    return !model.is_computed_from(hook, at);
  };
  const std::vector<HookPoint> captured = state_->target.capture();
  if (std::any_of(captured.begin(), captured.end(), is_elsewhere)) state_->snapshot = nullptr;
  if (needs_outputs && captured.empty())
    state_->clean_scores = state_->target.score(plain).detach();
}

ScoreFunction::ScoreFunction(ScoreFunction&&) noexcept = default;
ScoreFunction& ScoreFunction::operator=(ScoreFunction&&) noexcept = default;
ScoreFunction::~ScoreFunction() = default;

void ScoreFunction::name_samples(std::vector<std::string> ids) { state_->ids = std::move(ids); }
const at::Tensor& ScoreFunction::value() const { return state_->value; }
const Axes& ScoreFunction::axes() const { return state_->axes; }
const TargetScore& ScoreFunction::target() const { return state_->target; }
const HookPoint& ScoreFunction::at() const { return state_->at; }

Recording ScoreFunction::run(const at::Tensor& points, Pass pass, const at::Tensor& samples) const {
  pass.edits.insert(pass.edits.begin(), {state_->at, {}, points});
  // Rules act on the operators as they were given, which a plan's snapshot knows nothing of.
  if (state_->snapshot != nullptr && pass.rules.empty())
    return state_->model->resume(
        samples.defined() ? *state_->snapshot->select(samples) : *state_->snapshot, pass);
  if (!samples.defined()) return state_->model->run(*state_->inputs, pass);
  NamedTensors chosen;
  for (const auto& [name, value] : *state_->inputs)
    chosen.set(name, value.index_select(0, samples.to(value.device())));
  return state_->model->run(chosen, pass);
}

bool ScoreFunction::is_computed_from_here() const {
  const std::vector<HookPoint> captured = state_->target.capture();
  if (!captured.empty()) return state_->model->is_computed_from(captured[0], state_->at);
  const std::vector<PortInfo>& outputs = state_->model->outputs();
  const std::string& name = state_->target.target().output;
  return std::any_of(outputs.begin(), outputs.end(), [&](const PortInfo& output) {
    if (!name.empty() && output.name != name) return false;
    const std::string hook = outputs.size() == 1 ? "output" : "output." + output.name;
    return state_->model->is_computed_from(parse_hook_point(hook), state_->at);
  });
}

// Zeros would say that nothing matters.
void ScoreFunction::demand_gradient(const at::Tensor& scores) const {
  if (!scores.is_floating_point() && !scores.is_complex())
    throw Error(
        "the target is a value of whole numbers, through which no gradient flows; take a target of "
        "real numbers (what these were made from), or a method that changes the input");
  if (!scores.requires_grad() && is_computed_from_here())
    throw Error("no gradient flows from the target \"" + state_->target.target().text() +
                "\" to \"" + state_->at.text() +
                "\", although it is computed from it: all ways between them lead through a "
                "detach(), a block under no_grad, or whole numbers. Take another hook point, or a "
                "method that changes the value (feature_ablation, occlusion, kernel_shap)");
}

at::Tensor ScoreFunction::gradient_as_computed(const Recording& recording,
                                               const at::Tensor& scores) const {
  const at::Tensor& value = recording.differentiated.at(0);
  demand_gradient(scores);
  if (!scores.requires_grad()) return at::zeros_like(value);
  const at::Tensor found =
      torch::autograd::grad({scores.sum()}, {value}, {}, false, false, /*allow_unused=*/true)[0];
  return found.defined() ? found : at::zeros_like(value);
}

at::Tensor ScoreFunction::score(const Recording& recording, const at::Tensor& samples,
                                std::size_t offset) const {
  return (samples.defined() ? state_->target.rows(samples) : state_->target)
      .score(recording, 1, offset);
}

void ScoreFunction::demand_finite(const at::Tensor& rows, const at::Tensor& samples,
                                  const std::string& what) const {
  if (!first_not_finite(rows)) return;
  std::vector<std::string> ids;
  for (std::int64_t row = 0; row < rows.size(0); ++row) {
    const std::int64_t sample = samples.defined() ? samples[row].item<std::int64_t>() : row;
    const auto place = static_cast<std::size_t>(sample);
    ids.push_back(place < state_->ids.size() ? state_->ids[place]
                                             : "row " + std::to_string(sample));
  }
  microtome::demand_finite(rows, ids, what);
}

at::Tensor ScoreFunction::clean_scores() const {
  if (!state_->clean_scores.defined()) return scores(state_->value, {}, "the sample itself");
  demand_finite(state_->clean_scores, {}, "the target's score");
  return state_->clean_scores;
}

void ScoreFunction::demand_finite_scores(const at::Tensor& scores, const at::Tensor& samples,
                                         const NameOfPoint& of) const {
  if (const auto found = first_not_finite(scores))
    demand_finite(scores, samples, "the score of " + of(found->place.at(0)));
}

at::Tensor ScoreFunction::scores(const at::Tensor& points, const at::Tensor& samples,
                                 const std::string& of) const {
  return scores(points, samples, [&](std::int64_t) { return of; });
}

at::Tensor ScoreFunction::scores(const at::Tensor& points, const at::Tensor& samples,
                                 const NameOfPoint& of) const {
  Pass pass;
  pass.capture = state_->target.capture();
  at::Tensor found = score(run(points, std::move(pass), samples), samples).detach();
  demand_finite_scores(found, samples, of);
  return found;
}

ScoreFunction::Gradient ScoreFunction::gradient(const at::Tensor& points, const at::Tensor& samples,
                                                const BackwardRules& rules,
                                                const NameOfPoint& of) const {
  Pass pass;
  pass.capture = state_->target.capture();
  pass.differentiate = {state_->at};
  pass.rules = rules;
  const Recording recording = run(points, std::move(pass), samples);
  const at::Tensor scores = score(recording, samples);
  demand_gradient(scores);
  Gradient found{scores.detach(), recording.gradients(scores)[0]};
  if (of) {
    demand_finite_scores(found.scores, samples, of);
  } else {
    demand_finite(found.scores, samples, "the score at a point where the gradient is taken");
  }
  demand_finite(found.values, samples,
                "the gradient by the value at \"" + state_->at.text() + "\"" +
                    (rules.empty() ? "" : ", by the method's rules,"));
  return found;
}

ScoreFunction::Gradient ScoreFunction::relevance(const at::Tensor& points,
                                                 const at::Tensor& samples,
                                                 const BackwardRules& rules) const {
  Pass pass;
  pass.capture = state_->target.capture();
  pass.differentiate = {state_->at};
  pass.rules = rules;
  const Recording recording = run(points, std::move(pass), samples);
  const at::AutoGradMode mode(true);
  // The score as a function of the values that it is made from, cut off from the network.
  Recording cut;
  std::vector<at::Tensor> ends, leaves;
  const auto leaf_of = [&](const at::Tensor& end) {
    if (!end.is_floating_point()) return end;
    ends.push_back(end);
    return leaves.emplace_back(end.detach().requires_grad_());
  };
  if (state_->target.capture().empty()) {
    for (const auto& [name, output] : recording.outputs) cut.outputs.set(name, leaf_of(output));
  } else {
    cut.captured.push_back(leaf_of(recording.captured.at(0)));
    cut.axes = recording.axes;
  }
  const at::Tensor scores = score(cut, samples);
  demand_gradient(scores);
  const std::vector<at::Tensor> shares =
      torch::autograd::grad({scores.sum()}, leaves, {}, false, false, /*allow_unused=*/true);
  at::Tensor objective = at::zeros({}, scores.options());
  for (std::size_t i = 0; i < shares.size(); ++i) {
    if (shares[i].defined() && ends[i].requires_grad())
      objective = objective + (ends[i] * (shares[i] * leaves[i]).detach()).sum();
  }
  demand_gradient(objective);
  Gradient found{scores.detach(), recording.gradients(objective)[0]};
  demand_finite(found.scores, samples, "the target's score");
  demand_finite(found.values, samples, "the relevance at \"" + state_->at.text() + "\"");
  return found;
}

at::Tensor ScoreFunction::line_integral(const at::Tensor& start, const at::Tensor& end,
                                        const std::vector<QuadratureNode>& nodes,
                                        const at::Tensor& samples,
                                        const std::function<void()>& check) const {
  // A unit that is scored may lie before the prefix's end.
  const std::optional<HookPoint> prefix =
      state_->target.capture().empty() ? state_->model->affine_prefix(state_->at) : std::nullopt;
  const at::Tensor sum =
      sum_of_gradients(prefix.value_or(state_->at), start, end, nodes, samples, check);
  if (!sum.defined()) return at::zeros(start.sizes(), start.options().dtype(at::kDouble));
  demand_finite(sum, samples,
                "the sum of gradients along the path by the value at \"" +
                    prefix.value_or(state_->at).text() + "\"");
  if (!prefix) return sum.contiguous();
  // The derivative of the prefix is the same everywhere.
  Pass through;
  through.capture = {*prefix};
  through.differentiate = {state_->at};
  through.outputs = false;
  const Recording at_end = run(end, through, samples);
  const at::Tensor& value = at_end.captured[0];
  return at_end.gradients((value * sum.to(value.options())).sum())[0].to(at::kDouble);
}

at::Tensor ScoreFunction::sum_of_gradients(const HookPoint& by, const at::Tensor& start,
                                           const at::Tensor& end,
                                           const std::vector<QuadratureNode>& nodes,
                                           const at::Tensor& samples,
                                           const std::function<void()>& check) const {
  const at::Tensor step = end - start;
  at::Tensor total;
  // A few nodes are summed in single precision, which is twice as fast and loses nothing to speak
  // of.
  at::Tensor few;
  int summed = 0;
  const auto flush = [&] {
    if (summed > 0) total.add_(few);
    summed = 0;
  };
  std::vector<QuadratureNode> used;
  std::copy_if(nodes.begin(), nodes.end(), std::back_inserter(used),
               [](const QuadratureNode& node) { return node.weight != 0; });
  const std::int64_t rows = start.size(0), all = static_cast<std::int64_t>(used.size());
  const std::int64_t most = std::min(rows_at_once, state_->model->most_samples());
  const std::int64_t at_once = std::clamp<std::int64_t>(most / std::max<std::int64_t>(rows, 1), 1,
                                                        std::max<std::int64_t>(all, 1));
  for (std::int64_t first = 0; first < all; first += at_once) {
    check();
    const std::int64_t count = std::min(at_once, all - first);
    const auto node = [&](std::int64_t i) { return used[static_cast<std::size_t>(first + i)]; };
    std::vector<std::int64_t> shape = start.sizes().vec();
    shape[0] *= count;
    const at::Tensor points = at::empty(shape, start.options());
    for (std::int64_t i = 0; i < count; ++i) {
      at::Tensor part = points.narrow(0, i * rows, rows);
      // The ends themselves, not a sum that rounds.
      if (node(i).position == 0 || node(i).position == 1) {
        part.copy_(node(i).position == 0 ? start : end);
      } else {
        at::add_out(part, start, step, node(i).position);
      }
    }
    at::Tensor chosen = samples;
    if (count > 1)
      chosen = (samples.defined() ? samples : at::arange(rows, at::kLong)).repeat({count});
    Pass pass;
    pass.capture = state_->target.capture();
    pass.differentiate = {by};
    const Recording recording = run(points, std::move(pass), chosen);
    const at::Tensor gradients = gradient_as_computed(recording, score(recording, chosen));
    if (!few.defined()) {
      // In the order in memory that the model computes in, so that no step puts it in order again.
      few = at::empty_like(gradients.narrow(0, 0, rows));
      total = at::zeros_like(few, few.options().dtype(at::kDouble));
    }
    for (std::int64_t i = 0; i < count; ++i) {
      const at::Tensor part = gradients.narrow(0, i * rows, rows);
      if (summed == 0) {
        at::mul_out(few, part, at::scalar_tensor(node(i).weight));
      } else {
        few.add_(part, node(i).weight);
      }
      if (++summed == most_summed) flush();
    }
  }
  flush();
  return total;
}

}  // namespace microtome
