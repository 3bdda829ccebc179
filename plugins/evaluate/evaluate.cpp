#include "evaluate.h"

#include <algorithm>
#include <cstdio>

#include "microtome/class_numbers.h"

namespace evaluate {

using namespace microtome;

namespace {

Metric accuracy(const std::string& name, std::int64_t right, std::int64_t n, double chance,
                const std::string& null) {
  Metric metric;
  metric.name = name;
  metric.value = static_cast<double>(right) / static_cast<double>(n);
  metric.interval = wilson_interval(right, n);
  metric.n = n;
  metric.resampling_unit = "sample";
  metric.chance = chance;
  metric.null_description = null;
  return metric;
}

}  // namespace

void Evaluate::describe(StageSpec<Params>& spec) {
  spec.summary(
      "Accuracy of a classifier: top-1 and top-5 with intervals, for each class, and the "
      "confusion matrix.");
  spec.details(
      "Ties in the scores go to the lower class. Chance is the share of the most frequent "
      "class.");
  spec.paper(
      "Wilson 1927, Probable inference, the law of succession, and statistical inference (the "
      "intervals)");
  spec.input("model", {kind::model}).doc("the classifier");
  spec.input("data", {kind::dataset}).doc("samples with labels");
  spec.output("metrics", kind::metrics)
      .doc(
          "top1, top5, and for each sample `scores_top1` and `correct`; `confusion` is true x "
          "predicted");
  spec.parameter("label", &Params::label).doc("the field that holds the class of each sample");
  spec.parameter("output", &Params::output)
      .doc("the model's output, N x classes; empty: the only one");
}

void Evaluate::plan(const PlanInputs& inputs, Plan& plan) const {
  plan.tolerates_reduced_precision = true;
  plan.read = Read{.data = "data", .model = "model", .capture = {}, .forward = true};
  const DatasetInfo* data = inputs.dataset("data");
  const FieldInfo* label = data == nullptr ? nullptr : data->find(params_.label);
  if (label != nullptr) {
    if (const std::string why = why_not_classes(*label); !why.empty())
      inputs.problems().add({}, why);
  } else if (data != nullptr) {
    std::vector<std::string> names;
    for (const FieldInfo& field : data->fields) names.push_back(field.name);
    inputs.problems().add({}, "the dataset \"" + data->name + "\" has no field \"" + params_.label +
                                  "\"" + suggestion(params_.label, names));
  }
  const PortInfo* output = inputs.check_output("model", params_.output, {});
  if (output != nullptr && !output->shape.empty() && output->shape.size() != 1)
    inputs.problems().add({}, "the output must be N x classes, \"" + output->name + "\" has rank " +
                                  std::to_string(output->shape.size() + 1));
  plan.outputs.push_back({"metrics",
                          kind::metrics,
                          {{"confusion", at::kLong, {-1, -1}, false},
                           {"predicted", at::kLong, {-1}, true},
                           {"correct", at::kBool, {-1}, true}}});
}

void Evaluate::batch(State& counts, Chunk& chunk, Context&) const {
  const at::Tensor scores = chunk.recording->output(params_.output);
  if (scores.dim() != 2)
    throw Error("the output must be N x classes, this one has rank " +
                std::to_string(scores.dim()));
  demand_no_nan(scores, chunk.batch.ids, "the model's output");
  const at::Tensor labels =
      class_numbers(chunk.batch.fields.at(params_.label), params_.label).to(scores.device());
  const std::int64_t classes = scores.size(1);
  if (labels.max().item<std::int64_t>() >= classes || labels.min().item<std::int64_t>() < 0) {
    throw Error("a label is outside of the model's " + std::to_string(classes) + " classes");
  }
  // Rank of the true class: how many score higher, or the same with a lower number.
  const at::Tensor own = scores.gather(1, labels.unsqueeze(1));
  const at::Tensor lower = at::arange(classes, labels.options()).unsqueeze(0) < labels.unsqueeze(1);
  const at::Tensor rank = ((scores > own) | ((scores == own) & lower)).sum(1);
  const at::Tensor predicted = std::get<1>(scores.sort(true, 1, true)).select(1, 0);
  counts.confusion = at::zeros({classes * classes}, at::kLong);
  counts.confusion.index_add_(0, (labels * classes + predicted).cpu(),
                              at::ones({labels.size(0)}, at::kLong));
  counts.confusion = counts.confusion.view({classes, classes});
  counts.within_five = at::zeros({classes}, at::kLong);
  counts.within_five.index_add_(0, labels.cpu(), (rank < 5).to(at::kLong).cpu());
  chunk.emit("metrics", "predicted", predicted);
  chunk.emit("metrics", "correct", predicted == labels);
}

void Evaluate::merge(State& earlier, State&& later) const {
  if (!later.confusion.defined()) return;
  if (!earlier.confusion.defined()) {
    earlier = std::move(later);
    return;
  }
  earlier.confusion += later.confusion;
  earlier.within_five += later.within_five;
}

void Evaluate::finish(State& counts, Context& context) const {
  if (!counts.confusion.defined()) throw Error("no sample could be read, so there is no accuracy");
  ArtifactWriter& writer = context.output("metrics");
  const at::Tensor by_class = counts.confusion.sum(1), correct = counts.confusion.diagonal();
  const std::int64_t n = by_class.sum().item<std::int64_t>(), classes = by_class.size(0);
  const double majority = by_class.max().item().toDouble() / static_cast<double>(n);
  writer.metric(accuracy("top1", correct.sum().item<std::int64_t>(), n, majority,
                         "share of the most frequent class"));
  if (classes > 5) {
    const double best_five =
        std::get<0>(by_class.topk(5)).sum().item().toDouble() / static_cast<double>(n);
    writer.metric(accuracy("top5", counts.within_five.sum().item<std::int64_t>(), n, best_five,
                           "share of the five most frequent classes"));
  }
  const FieldInfo* label = context.dataset("data").info().find(params_.label);
  Value::List rows;
  for (std::int64_t k = 0; k < classes; ++k) {
    const std::int64_t count = by_class[k].item<std::int64_t>(),
                       right = correct[k].item<std::int64_t>();
    if (count == 0) continue;
    const Interval interval = wilson_interval(right, count);
    const bool named = label != nullptr && k < static_cast<std::int64_t>(label->class_names.size());
    rows.emplace_back(
        Value::List{Value(k), Value(named ? label->class_names[static_cast<std::size_t>(k)] : ""),
                    Value(count), Value(static_cast<double>(right) / static_cast<double>(count)),
                    Value(interval.low), Value(interval.high)});
  }
  writer.tensor("confusion", counts.confusion);
  writer.view(table_view("Accuracy by class",
                         {"class", "name", "samples", "accuracy", "low", "high"}, std::move(rows),
                         "With Wilson intervals at 95 %."));
  if (classes <= 50)
    writer.view({View::Type::heat_map,
                 "Confusion",
                 "Rows are true classes, columns predicted ones.",
                 {"confusion"},
                 Value()});
  char text[160];
  std::snprintf(text, sizeof text, "top-1 %.2f %% of %lld samples",
                100.0 * correct.sum().item().toDouble() / static_cast<double>(n),
                static_cast<long long>(n));
  context.log(LogLevel::info, text);
}

}  // namespace evaluate
