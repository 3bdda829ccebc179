#include "linear_probe.h"

#include <algorithm>
#include <numeric>
#include <string_view>
#include <unordered_map>

#include "microtome/class_numbers.h"
#include "microtome/planned_rows.h"

namespace linear_probe {

using namespace microtome;

namespace {

constexpr std::uint64_t fold_stream = 0;
constexpr std::uint64_t first_permutation_stream = 1;

/// Accuracy over rows, with an interval that knows which rows share a sample.
Metric accuracy(const std::string& name, const at::Tensor& predicted, const Labelled& data) {
  const at::Tensor truth = data.classes.repeat_interleave(data.positions, 0);
  const at::Tensor right = (predicted == truth).view({-1, data.positions}).sum(1);
  std::vector<std::int64_t> successes(right.data_ptr<std::int64_t>(),
                                      right.data_ptr<std::int64_t>() + right.numel());
  const std::int64_t all = std::accumulate(successes.begin(), successes.end(), std::int64_t{0});
  Metric metric;
  metric.name = name;
  metric.value = static_cast<double>(all) / static_cast<double>(predicted.numel());
  metric.interval = data.positions == 1 ? wilson_interval(all, predicted.numel())
                                        : clustered_wilson_interval(successes, data.positions);
  metric.n = data.classes.numel();
  metric.resampling_unit = "sample";
  return metric;
}

Labelled read(const FeatureRows& features, const at::Tensor& classes, std::int64_t class_count) {
  return {features.read(0, features.samples()), classes, features.positions(), class_count};
}

/// Where the samples `wanted` are among `ids`. Throws `Error` naming one that is not there.
at::Tensor places_of(const std::vector<std::string>& wanted, const std::vector<std::string>& ids,
                     const std::string& of) {
  std::unordered_map<std::string_view, std::int64_t> places;
  for (std::size_t i = 0; i < ids.size(); ++i) places.emplace(ids[i], static_cast<std::int64_t>(i));
  std::vector<std::int64_t> result;
  result.reserve(wanted.size());
  for (const std::string& id : wanted) {
    const auto found = places.find(id);
    if (found == places.end())
      throw Error(of + " have no sample \"" + id + "\"; they must be of the same data");
    result.push_back(found->second);
  }
  return at::tensor(result, at::kLong);
}

Value row(const std::string& what, const Metric& metric) {
  return Value(Value::List{Value(what), Value(metric.value), Value(metric.interval->low),
                           Value(metric.interval->high)});
}

}  // namespace

void LinearProbe::describe(StageSpec<Params>& spec) {
  spec.summary(
      "What can be read off activations by a linear classifier, against chance and baselines.");
  spec.details(
      "Multinomial logistic regression by L-BFGS. Accuracy is that of pooled out-of-fold "
      "predictions: features are standardised and l2 chosen by inner folds, within the training "
      "part of each fold. Rows of one sample (positions, tokens) stay in one fold, and the "
      "interval counts them as a cluster. Chance is the majority class, and the whole procedure "
      "on permuted labels. The directions are those of a probe on all rows, in the units of the "
      "features.");
  spec.paper(
      "Alain, Bengio 2016, Understanding intermediate layers using linear classifier probes (arXiv "
      "1610.01644)");
  spec.paper(
      "Hewitt, Liang 2019, Designing and interpreting probes with control tasks (arXiv "
      "1909.03368)");
  spec.input("activations", {kind::activations})
      .doc("rows of features: N x D, or N x positions x D");
  spec.input("labels", {kind::field}).doc("the class of each sample");
  spec.input("untrained", {kind::activations})
      .optional()
      .doc("the same layer of an untrained network, as a baseline");
  spec.input("pixels", {kind::activations})
      .optional()
      .doc("the model's input, flattened, as a baseline");
  spec.output("metrics", kind::metrics)
      .doc("`predicted` by a probe that did not see the sample, `confusion`, accuracies");
  spec.output("directions", kind::directions).doc("`directions` [classes, D] and `bias`");
  spec.parameter("layer", &Params::layer).doc("which of the activations; empty: the only ones");
  spec.parameter("folds", &Params::folds).range(2, 100).doc("outer folds");
  spec.parameter("inner_folds", &Params::inner_folds).range(2, 100).doc("folds that choose l2");
  spec.parameter("l2", &Params::l2)
      .range(1e-12, 1e12)
      .doc("candidates for the penalty: mean cross-entropy + l2 / 2 |W|^2");
  spec.parameter("permutations", &Params::permutations)
      .range(0, 100000)
      .doc("label permutations, each refitted whole");
}

void LinearProbe::plan(const PlanInputs& inputs, Plan& plan) const {
  plan.random = true;
  if (params_.l2.empty()) inputs.problems().add({}, "l2: name one candidate at least");
  const std::int64_t features = FeatureRows::planned(inputs, "activations", params_.layer);
  plan.outputs.push_back(
      {"metrics",
       kind::metrics,
       {{"predicted", at::kLong, planned_rows(inputs, "activations", params_.layer), true},
        {"confusion", at::kLong, {-1, -1}, false}}});
  plan.outputs.push_back(
      {"directions",
       kind::directions,
       {{"directions", at::kFloat, {-1, features}, false}, {"bias", at::kFloat, {-1}, false}}});
}

void LinearProbe::write_baseline(const char* port, const Labelled& data, const at::Tensor& folds,
                                 const std::vector<std::string>& ids, std::vector<Value>& table,
                                 Context& context, const std::function<void()>& fold_done) const {
  if (!context.connected(port)) return;
  const std::string layer = std::string(port) == "pixels" ? "" : params_.layer;
  const FeatureRows features(context.artifact(port), layer);
  const at::Tensor places = places_of(ids, context.artifact(port).sample_ids(),
                                      "the activations at \"" + std::string(port) + "\"");
  Labelled baseline = read(features, data.classes, data.class_count);
  // In the order of the labels, whatever the order of the baseline's own samples.
  baseline.rows = baseline.rows.view({features.samples(), -1})
                      .index_select(0, places)
                      .view({-1, features.features()});
  const auto outcomes =
      cross_validate(baseline, {data.classes}, folds, settings(), context, fold_done);
  const Metric metric =
      accuracy("accuracy_of_" + std::string(port), outcomes[0].predicted, baseline);
  table.push_back(row(port, metric));
  context.output("metrics").metric(metric);
}

void LinearProbe::run(Context& context) const {
  const ArtifactReader& activations = context.artifact("activations");
  const FeatureRows features(activations, params_.layer);
  const std::vector<std::string> ids = activations.sample_ids();
  const at::Tensor raw = class_numbers(context.values_of("labels", ids), context.field("labels"));
  if (raw.numel() == 0 || raw.min().item<std::int64_t>() < 0)
    throw Error("there are no labels, or one is below 0");
  const std::int64_t class_count = raw.max().item<std::int64_t>() + 1;
  const Labelled data = read(features, raw, class_count);
  const at::Tensor counts = at::bincount(raw, {}, class_count);
  if ((counts > 0).sum().item<std::int64_t>() < 2) throw Error("all samples are of one class");
  if (data.classes.numel() < params_.folds * params_.inner_folds) {
    throw Error("there are " + std::to_string(data.classes.numel()) + " samples, too few for " +
                std::to_string(params_.folds) + " folds");
  }
  const at::Tensor folds = stratified_folds(raw, params_.folds, context.generator(fold_stream));

  std::vector<at::Tensor> classes{raw};
  for (std::int64_t i = 0; i < params_.permutations; ++i) {
    const auto stream = first_permutation_stream + static_cast<std::uint64_t>(i);
    classes.push_back(
        raw.index_select(0, at::randperm(raw.numel(), context.generator(stream), at::kLong)));
  }
  std::int64_t done = 0, all = params_.folds;
  for (const char* baseline : {"untrained", "pixels"}) {
    if (context.connected(baseline)) all += params_.folds;
  }
  const auto fold_done = [&] { context.progress(++done, all); };
  const auto outcomes = cross_validate(data, classes, folds, settings(), context, fold_done);

  ArtifactWriter& writer = context.output("metrics");
  Metric found = accuracy("accuracy", outcomes[0].predicted, data);
  found.chance = counts.max().item().toDouble() / static_cast<double>(raw.numel());
  found.null_description = "share of the most frequent class";
  found.details.set("layer", features.layer());
  std::vector<Value> table{row("this layer", found)};
  if (params_.permutations > 0) {
    std::vector<double> null;
    for (std::size_t i = 1; i < outcomes.size(); ++i) {
      Labelled permuted = data;
      permuted.classes = classes[i];
      null.push_back(accuracy("", outcomes[i].predicted, permuted).value);
    }
    std::sort(null.begin(), null.end());
    const double mean =
        std::accumulate(null.begin(), null.end(), 0.0) / static_cast<double>(null.size());
    const auto as_good =
        std::count_if(null.begin(), null.end(), [&](double value) { return value >= found.value; });
    Metric chance;
    chance.name = "accuracy_of_permuted_labels";
    chance.value = mean;
    chance.interval = Interval{null.front(), null.back(), 1.0, "smallest and largest"};
    chance.n = params_.permutations;
    chance.resampling_unit = "permutation";
    table.push_back(row("permuted labels, refitted", chance));
    found.details.set("p_value", static_cast<double>(as_good + 1) /
                                     static_cast<double>(params_.permutations + 1));
    writer.metric(found);
    writer.metric(chance);
    writer.tensor("permuted_accuracies", at::tensor(null, at::kDouble));
  } else {
    writer.metric(found);
  }
  write_baseline("untrained", data, folds, ids, table, context, fold_done);
  write_baseline("pixels", data, folds, ids, table, context, fold_done);
  table.push_back(
      Value(Value::List{Value("majority class"), Value(*found.chance), Value(), Value()}));

  const at::Tensor truth = raw.repeat_interleave(data.positions, 0);
  const at::Tensor confusion =
      at::bincount(truth * class_count + outcomes[0].predicted, {}, class_count * class_count)
          .view({class_count, class_count});
  at::Tensor predicted = outcomes[0].predicted;
  if (data.positions > 1) predicted = predicted.view({-1, data.positions});
  writer.append("predicted", predicted);
  writer.append_ids(ids);
  writer.tensor("confusion", confusion);
  writer.view(table_view("Accuracy", {"of", "accuracy", "low", "high"}, std::move(table),
                         "Out of fold, with intervals at 95 %; for permuted labels the smallest "
                         "and the largest."));
  const FieldInfo* field = context.dataset("labels").info().find(context.field("labels"));
  Value names = Value::list();
  for (const std::string& name : field->class_names) names.push_back(name);
  if (class_count <= 50) {
    View view{View::Type::heat_map,
              "Confusion",
              "Rows are true classes, columns predicted ones.",
              {"confusion"},
              Value()};
    view.options.set("rows", names);
    view.options.set("columns", names);
    writer.view(std::move(view));
  }

  const FinalProbe final_probe = fit_on_all(data, folds, settings(), context);
  ArtifactWriter& directions = context.output("directions");
  directions.tensor("directions", final_probe.probe.weights.to(at::kFloat));
  directions.tensor("bias", final_probe.probe.bias.to(at::kFloat));
  directions.metadata("hook", Value(features.layer()));
  directions.metadata("norm", Value("units of the features"));
  directions.metadata("l2", Value(final_probe.l2));
  directions.metadata("names", names);
  if (outcomes[0].not_converged > 0) {
    context.log(LogLevel::warning, std::to_string(outcomes[0].not_converged) +
                                       " of the folds' probes did not reach the tolerance");
  }
}

}  // namespace linear_probe
