#include "score_shift.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <unordered_map>

namespace evaluate {

using namespace microtome;

namespace {

constexpr std::uint64_t other_stream = 0, interval_streams = std::uint64_t{1} << 62;

/// What is said of a sample that is not in `data`: it is left out there, or it never was.
bool is_skipped(const Dataset& data, const std::string& id) {
  const std::vector<SkippedSample>& skipped = data.info().skipped;
  return std::any_of(skipped.begin(), skipped.end(),
                     [&](const SkippedSample& sample) { return sample.id == id; });
}

std::unordered_map<std::string, std::int64_t> positions_by_id(const Dataset& data) {
  std::unordered_map<std::string, std::int64_t> positions;
  for (std::int64_t i = 0; i < data.info().size; ++i) positions.emplace(data.id(i), i);
  return positions;
}

[[noreturn]] void not_paired(const std::string& id, const Dataset& in, const Dataset& other) {
  throw Error("sample \"" + id + "\" of \"" + in.info().name + "\" is not in \"" +
              other.info().name + "\", whose first is \"" + other.id(0) +
              "\"; both must have the same samples, by id");
}

/// Those at `places` of `positions`.
std::vector<std::int64_t> chosen(const std::vector<std::int64_t>& positions,
                                 const std::vector<std::int64_t>& places) {
  std::vector<std::int64_t> result;
  result.reserve(places.size());
  for (const std::int64_t place : places)
    result.push_back(positions[static_cast<std::size_t>(place)]);
  return result;
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
  spec.input("changed", {kind::dataset})
      .doc("the same samples by id, changed; a pair of which one half can't be read is left out");
  spec.output("metrics", kind::metrics)
      .doc(
          "`shift`, `absolute_shift`, `absolute_shift_to_others`, `share_of_others`, and for each "
          "sample `score`, `changed` and `other`");
  spec.parameter("target", &Params::target).doc("the score that is followed");
}

void ScoreShift::plan(const PlanInputs& inputs, Plan& plan) const {
  plan.random = true;
  inputs.check_target("model", "data", params_.target);
  if (params_.target.direction || params_.target.what == Target::What::kl ||
      params_.target.what == Target::What::loss)
    inputs.problems().add(params_.target.location,
                          "score_shift follows classes, contrasts and units");
  const DatasetInfo *data = inputs.dataset("data"), *changed = inputs.dataset("changed");
  const bool all_are_there =
      data != nullptr && changed != nullptr && data->skipped.empty() && changed->skipped.empty();
  if (all_are_there && data->size != changed->size) {
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
}

ScoreShift::Pairs ScoreShift::pairs(Context& context) {
  const Dataset &plain = context.dataset("data"), &changed = context.dataset("changed");
  const auto places = positions_by_id(changed);
  Pairs pairs;
  for (std::int64_t i = 0; i < plain.info().size; ++i) {
    const std::string id = plain.id(i);
    if (const auto found = places.find(id); found != places.end()) {
      pairs.plain.push_back(i);
      pairs.changed.push_back(found->second);
    } else if (!is_skipped(changed, id)) {
      not_paired(id, plain, changed);
    }
  }
  const auto known = positions_by_id(plain);
  for (const auto& [id, place] : places) {
    if (!known.contains(id) && !is_skipped(plain, id)) not_paired(id, changed, plain);
  }
  return pairs;
}

void ScoreShift::run(Context& context) const {
  const Pairs pairs = ScoreShift::pairs(context);
  const auto count = static_cast<std::int64_t>(pairs.plain.size());
  if (count < 2) throw Error("there are fewer than two pairs that can be read");
  const std::vector<std::int64_t> donors = random_donors(count, context.generator(other_stream));
  const Model& model = context.model("model");
  const Dataset &data = context.dataset("data"), &changed = context.dataset("changed");
  Pass pass;
  if (params_.target.hook) pass.capture = {*params_.target.hook};
  const auto chunks = chunks_of(count, context.chunk_size());
  struct Part {
    std::vector<std::string> ids;
    at::Tensor scores;  ///< [n, 3]: as it is, changed, and of another sample
  };
  std::vector<Part> parts(chunks.size());
  std::atomic<std::int64_t> done{0};
  context.parallel_for(static_cast<std::int64_t>(chunks.size()), [&](std::int64_t k) {
    context.check_cancelled();
    const std::vector<std::int64_t>& places = chunks[static_cast<std::size_t>(k)];
    const Batch batch = data.load(chosen(pairs.plain, places));
    const Recording plain = model.run(context.bind("model", batch), pass);
    const TargetScore target(params_.target, plain, batch);
    const auto scores_of = [&](const Batch& other) {
      return target.score(model.run(context.bind("model", other), pass));
    };
    const std::vector<at::Tensor> scores = {
        target.score(plain), scores_of(changed.load(chosen(pairs.changed, places))),
        scores_of(data.load(chosen(pairs.plain, chosen(donors, places))))};
    const char* names[] = {"the target's score", "the target's score on the changed sample",
                           "the target's score on another sample"};
    for (std::size_t i = 0; i < scores.size(); ++i) demand_finite(scores[i], batch.ids, names[i]);
    parts[static_cast<std::size_t>(k)] = {batch.ids, at::stack(scores, 1).cpu()};
    context.progress(done += static_cast<std::int64_t>(places.size()), count);
  });
  ArtifactWriter& writer = context.output("metrics");
  std::vector<at::Tensor> all;
  for (const Part& part : parts) {
    const char* names[] = {"score", "changed", "other"};
    for (std::int64_t i = 0; i < 3; ++i)
      writer.append(names[i], part.scores.select(1, i).contiguous());
    writer.append_ids(part.ids);
    all.push_back(part.scores.to(at::kDouble));
  }
  write(at::cat(all), context);
}

void ScoreShift::write(const at::Tensor& all, Context& context) const {
  ArtifactWriter& writer = context.output("metrics");
  const at::Tensor shift = all.select(1, 1) - all.select(1, 0),
                   to_others = (all.select(1, 2) - all.select(1, 0)).abs();
  const double scale = to_others.mean().item<double>();
  std::uint64_t stream = interval_streams;
  Value::List rows;
  const auto write_mean = [&](const std::string& name, const std::string& doc,
                              const at::Tensor& values, std::optional<double> chance,
                              const std::string& null) {
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
  write_mean("shift", "changed less as it is", shift, 0, "the change does nothing");
  write_mean("absolute_shift", "the same, its size", shift.abs(), scale,
             "another sample in its place");
  write_mean("absolute_shift_to_others", "another sample less as it is, its size", to_others, {},
             "");
  // The scale is taken as known: the interval is that of the size alone.
  if (scale > 0)
    write_mean("share_of_others", "size of the change, as a share of that to another sample",
               shift.abs() / scale, 1, "another sample in its place");
  writer.view(table_view("Shift of the score", {"", "mean", "low", "high"}, std::move(rows),
                         "With bootstrap intervals at 95 % over samples."));
}

}  // namespace evaluate
