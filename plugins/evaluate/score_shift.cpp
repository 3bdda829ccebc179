#include "score_shift.h"

#include <numeric>
#include <optional>

namespace evaluate {

using namespace microtome;

namespace {

constexpr std::uint64_t other_stream = 0, interval_streams = std::uint64_t{1} << 62;

/// Scores of the samples at these positions; those must all be readable, and be `ids` unless that
/// is empty.
at::Tensor scores_at(const Dataset& data, const std::vector<std::int64_t>& positions,
                     const std::vector<std::string>& ids, const TargetScore& target,
                     const Model& model, Context& context) {
  const Batch batch = data.load(positions);
  if (batch.size() != static_cast<std::int64_t>(positions.size()))
    throw Error("a sample of \"" + data.info().name +
                "\" could not be read, so its pair is missing");
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (batch.ids[i] != ids[i])
      throw Error("sample \"" + ids[i] + "\" of the data is paired with \"" + batch.ids[i] +
                  "\" of \"" + data.info().name +
                  "\"; both must have the same samples in the same order");
  }
  Pass pass;
  pass.capture = target.capture();
  return target.score(model.run(context.bind("model", batch), pass));
}

}  // namespace

void ScoreShift::describe(StageSpec<Params>& spec) {
  spec.summary("How far a score moves when each sample is changed in one respect.");
  spec.details(
      "The target is decided on the samples as they are, and its score is taken on their changed "
      "versions too. The scale is how far it moves when a sample is replaced by another one at "
      "random: what does not matter to the network moves it by a small share of that.");
  spec.input("model", {kind::model}).doc("the network");
  spec.input("data", {kind::dataset}).doc("the samples");
  spec.input("changed", {kind::dataset}).doc("the same samples in the same order, changed");
  spec.output("metrics", kind::metrics)
      .doc(
          "`shift`, `absolute_shift`, `absolute_shift_to_others`, `share_of_others`, and for each "
          "sample `score`, `changed` and `other`");
  spec.parameter("target", &Params::target).doc("the score that is followed");
}

Plan ScoreShift::plan(const PlanInputs& inputs) const {
  Plan plan;
  plan.random = true;
  plan.read = Read{.data = "data", .model = "model", .capture = {}, .forward = true};
  if (params_.target.hook) plan.read->capture = {*params_.target.hook};
  inputs.check_target("model", "data", params_.target);
  if (params_.target.direction || params_.target.what == Target::What::kl ||
      params_.target.what == Target::What::loss)
    inputs.problems().add(params_.target.location,
                          "score_shift follows classes, contrasts and units");
  const DatasetInfo *data = inputs.dataset("data"), *changed = inputs.dataset("changed");
  if (data != nullptr && changed != nullptr && data->size != changed->size) {
    inputs.problems().add({}, "\"" + data->name + "\" has " + std::to_string(data->size) +
                                  " samples and \"" + changed->name + "\" " +
                                  std::to_string(changed->size) +
                                  "; they must be the same samples");
  }
  if (data != nullptr && data->size == 1)
    inputs.problems().add({}, "one sample alone has no other to compare with");
  plan.outputs.push_back({"metrics",
                          kind::metrics,
                          {{"score", at::kFloat, {-1}, true},
                           {"changed", at::kFloat, {-1}, true},
                           {"other", at::kFloat, {-1}, true}}});
  return plan;
}

at::Tensor ScoreShift::others(std::int64_t size, Context& context) const {
  const std::lock_guard lock(known_->mutex);
  if (!known_->others.defined() || known_->others.size(0) != size) {
    // Each takes the place of the next in a random cycle, so none keeps its own.
    const at::Tensor cycle = at::randperm(size, context.generator(other_stream), at::kLong);
    known_->others = at::empty({size}, at::kLong);
    known_->others.index_copy_(0, cycle, cycle.roll(1));
  }
  return known_->others;
}

void ScoreShift::batch(State& state, Chunk& chunk, Context& context) const {
  const Dataset &data = context.dataset("data"), &changed = context.dataset("changed");
  const std::int64_t rows = chunk.batch.size(), first = chunk.batch.first;
  std::vector<std::int64_t> own(static_cast<std::size_t>(rows));
  std::iota(own.begin(), own.end(), first);
  const at::Tensor other = others(data.info().size, context).narrow(0, first, rows);
  const std::int64_t* begin = other.data_ptr<std::int64_t>();

  const TargetScore target(params_.target, *chunk.recording, chunk.batch);
  const std::vector<at::Tensor> scores = {
      target.score(*chunk.recording),
      scores_at(changed, own, chunk.batch.ids, target, *chunk.model, context),
      scores_at(data, {begin, begin + rows}, {}, target, *chunk.model, context)};
  const char* names[] = {"score", "changed", "other"};
  for (std::size_t i = 0; i < scores.size(); ++i) chunk.emit("metrics", names[i], scores[i]);
  state.parts = {at::stack(scores, 1).to(at::kCPU, at::kDouble)};
}

void ScoreShift::merge(State& earlier, State&& later) const {
  earlier.parts.insert(earlier.parts.end(), later.parts.begin(), later.parts.end());
}

void ScoreShift::finish(State& state, Context& context) const {
  if (state.parts.empty()) throw Error("no sample could be read, so there are no scores");
  ArtifactWriter& writer = context.output("metrics");
  const at::Tensor all = at::cat(state.parts);
  const at::Tensor shift = all.select(1, 1) - all.select(1, 0),
                   to_others = (all.select(1, 2) - all.select(1, 0)).abs();
  const double scale = to_others.mean().item<double>();
  std::uint64_t stream = interval_streams;
  Value::List rows;
  const auto write = [&](const std::string& name, const std::string& doc, const at::Tensor& values,
                         std::optional<double> chance, const std::string& null) {
    Metric metric;
    metric.name = name;
    metric.value = values.mean().item<double>();
    metric.interval = bootstrap_interval(values, context.generator(stream++));
    metric.n = values.numel();
    metric.resampling_unit = "sample";
    metric.chance = chance;
    metric.null_description = null;
    writer.metric(metric);
    rows.emplace_back(Value::List{Value(doc), Value(metric.value), Value(metric.interval->low),
                                  Value(metric.interval->high)});
  };
  write("shift", "changed less as it is", shift, 0, "the change does nothing");
  write("absolute_shift", "the same, its size", shift.abs(), scale, "another sample in its place");
  write("absolute_shift_to_others", "another sample less as it is, its size", to_others, {}, "");
  // The scale is taken as known: the interval is that of the size alone.
  if (scale > 0)
    write("share_of_others", "size of the change, as a share of that to another sample",
          shift.abs() / scale, 1, "another sample in its place");
  writer.view(table_view("Shift of the score", {"", "mean", "low", "high"}, std::move(rows),
                         "With bootstrap intervals at 95 % over samples."));
}

}  // namespace evaluate
