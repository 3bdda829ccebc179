#include "metrics/agreement.h"

#include <algorithm>

namespace attribution {

using namespace microtome;

namespace {

/// Height and width of the largest maps among the attributions; 0 where they are no maps.
std::pair<std::int64_t, std::int64_t> largest_size(const Compared& compared) {
  std::pair<std::int64_t, std::int64_t> largest{0, 0};
  for (const ArtifactReader* artifact : compared.artifacts) {
    for (const TensorInfo& info : artifact->tensors()) {
      if (info.name == "attributions" && info.shape.size() == 4)
        largest = std::max(largest, {info.shape[2], info.shape[3]});
    }
  }
  return largest;
}

/// Calls `take(batch, relevances)` for parts of the samples, each method's N x P.
template <class Take>
void for_parts(const Compared& compared, OverChannels over, Context& context, Take take) {
  const std::vector<std::string> ids = compared.artifacts.at(0)->sample_ids();
  const auto [height, width] = largest_size(compared);
  const auto size = static_cast<std::int64_t>(ids.size());
  for (std::int64_t first = 0; first < size; first += context.chunk_size()) {
    context.check_cancelled();
    context.progress(first, size);
    const std::int64_t last = std::min(first + context.chunk_size(), size);
    Batch batch;
    batch.positions = positions_between(first, last);
    batch.ids.assign(ids.begin() + first, ids.begin() + last);
    std::vector<at::Tensor> relevances;
    for (std::size_t i = 0; i < compared.names.size(); ++i) {
      relevances.push_back(relevance_of(compared.rows(i, batch.ids), over, height, width));
      if (relevances[i].sizes() != relevances[0].sizes())
        throw Error("attributions \"" + compared.names[0] + "\" and \"" + compared.names[i] +
                    "\" are of values of other sizes");
    }
    take(batch, relevances);
  }
}

}  // namespace

void Agreement::describe(StageSpec<Params>& spec) {
  spec.summary("Whether methods agree: rank correlation between their attributions.");
  spec.details(
      "Spearman's correlation over the places of each sample, averaged over samples, with "
      "bootstrap "
      "intervals; the last row and column are a random attribution, whose correlations are the "
      "floor. Maps of other sizes are stretched to the largest.");
  spec.paper(
      "Krishna, Han, Gu, Pombra, Jabbari, Wu, Lakkaraju 2022, The disagreement problem in "
      "explainable machine learning (arXiv 2202.01602)");
  describe_compared(spec);
  spec.output("metrics", kind::metrics)
      .doc("`agreement`, method x method, and for each sample `correlations`, N x method x method");
  describe_over(spec);
}

void Agreement::plan(const PlanInputs&, Plan& plan) const {
  plan.random = true;
  plan.outputs.push_back({"metrics",
                          kind::metrics,
                          {{"agreement", at::kFloat, {-1, -1}, false},
                           {"correlations", at::kFloat, {-1, -1, -1}, true}}});
}

void Agreement::run(Context& context) const {
  const Compared compared = Compared::of(context);
  std::vector<std::string> names = compared.names;
  names.emplace_back(random_name);
  const auto count = static_cast<std::int64_t>(names.size());
  ArtifactWriter& writer = context.output("metrics");
  std::vector<at::Tensor> parts;
  for_parts(compared, params_.over, context, [&](const Batch& batch, std::vector<at::Tensor>& all) {
    all.push_back(random_relevance(batch, all[0].size(1), 0, context));
    at::Tensor correlations = at::ones({batch.size(), count, count}, at::kDouble);
    for (std::int64_t i = 0; i < count; ++i) {
      for (std::int64_t j = 0; j < i; ++j) {
        const at::Tensor found =
            rank_correlation(all[static_cast<std::size_t>(i)], all[static_cast<std::size_t>(j)]);
        correlations.select(1, i).select(1, j).copy_(found);
        correlations.select(1, j).select(1, i).copy_(found);
      }
    }
    writer.append("correlations", correlations.to(at::kFloat));
    writer.append_ids(batch.ids);
    parts.push_back(correlations);
  });
  if (parts.empty()) throw Error("there are no samples");
  const at::Tensor all = at::cat(parts), mean = all.mean(0);
  writer.tensor("agreement", mean.to(at::kFloat));
  for (std::int64_t i = 0; i < count; ++i) {
    for (std::int64_t j = 0; j < i; ++j) {
      Metric metric;
      metric.name = "rank_correlation";
      metric.value = mean[i][j].item<double>();
      metric.interval = bootstrap_interval(
          all.select(1, i).select(1, j),
          context.generator((std::uint64_t{1} << 62) + static_cast<std::uint64_t>(i * count + j)));
      metric.n = all.size(0);
      metric.resampling_unit = "sample";
      metric.chance = 0;
      metric.null_description = "a random attribution";
      metric.details.set("methods", Value(Value::List{Value(names[static_cast<std::size_t>(j)]),
                                                      Value(names[static_cast<std::size_t>(i)])}));
      writer.metric(metric);
    }
  }
  Value::List labels;
  for (const std::string& name : names) labels.emplace_back(name);
  View matrix{View::Type::heat_map,
              "Agreement",
              "Mean rank correlation between the attributions of each two methods; the last is "
              "random.",
              {"agreement"},
              Value()};
  matrix.options.set("rows", Value(labels));
  matrix.options.set("columns", Value(labels));
  writer.view(std::move(matrix));
}

void Complexity::describe(StageSpec<Params>& spec) {
  spec.summary("How complete and how concentrated attributions are.");
  spec.details(
      "`entropy` is that of each place's share of the relevance, in nats; `effective_size` its "
      "exponential as a share of the places: 1 when all count the same, which is about what a "
      "random attribution has. `completeness_error` is the size of the completeness delta over the "
      "size of the summed attributions, for methods that write one.");
  spec.paper(
      "Bhatt, Weller, Moura 2020, Evaluating and aggregating feature-based model explanations "
      "(arXiv 2005.00631)");
  describe_compared(spec);
  spec.output("metrics", kind::metrics)
      .doc("for each sample `entropy` and `effective_size`, N x method");
  describe_over(spec);
}

void Complexity::plan(const PlanInputs&, Plan& plan) const {
  plan.random = true;
  plan.outputs.push_back(
      {"metrics",
       kind::metrics,
       {{"entropy", at::kFloat, {-1, -1}, true}, {"effective_size", at::kFloat, {-1, -1}, true}}});
}

void Complexity::run(Context& context) const {
  const Compared compared = Compared::of(context);
  ArtifactWriter& writer = context.output("metrics");
  std::vector<at::Tensor> entropies, sizes;
  std::vector<std::vector<at::Tensor>> errors(compared.names.size());
  for_parts(compared, params_.over, context, [&](const Batch& batch, std::vector<at::Tensor>& all) {
    for (std::size_t i = 0; i < compared.names.size(); ++i) {
      const auto tensors = compared.artifacts[i]->tensors();
      if (std::none_of(tensors.begin(), tensors.end(),
                       [](const TensorInfo& info) { return info.name == "completeness_delta"; }))
        continue;
      const at::Tensor delta =
          compared.rows(i, batch.ids, "completeness_delta").to(at::kDouble).abs();
      const at::Tensor sum =
          compared.rows(i, batch.ids).to(at::kDouble).flatten(1).sum(1).abs().clamp_min(1e-12);
      errors[i].push_back(delta / sum);
    }
    all.push_back(random_relevance(batch, all[0].size(1), 0, context));
    std::vector<at::Tensor> of_methods;
    for (const at::Tensor& relevance : all) {
      const at::Tensor share = relevance.abs() / relevance.abs().sum(1, true).clamp_min(1e-300);
      of_methods.push_back(-at::xlogy(share, share).sum(1));
    }
    entropies.push_back(at::stack(of_methods, 1));
    sizes.push_back(entropies.back().exp() / static_cast<double>(all[0].size(1)));
    writer.append("entropy", entropies.back().to(at::kFloat));
    writer.append("effective_size", sizes.back().to(at::kFloat));
    writer.append_ids(batch.ids);
  });
  if (entropies.empty()) throw Error("there are no samples");
  const char* caption = "Intervals at 95 % by bootstrap over samples.";
  const std::int64_t count = compared.count();
  const auto write = [&](const std::vector<at::Tensor>& parts, const char* name, const char* title,
                         const char* unit) {
    const at::Tensor all = at::cat(parts);
    write_scores({name, title, caption, unit}, compared.names, all.narrow(1, 0, count),
                 all.select(1, count), context, writer);
  };
  write(sizes, "effective_size", "Share of the places that count", "");
  write(entropies, "entropy", "Entropy of the relevance", "nat");
  std::vector<std::string> complete;
  std::vector<at::Tensor> columns;
  for (std::size_t i = 0; i < errors.size(); ++i) {
    if (errors[i].empty()) continue;
    complete.push_back(compared.names[i]);
    columns.push_back(at::cat(errors[i]));
  }
  if (!complete.empty())
    write_scores({"completeness_error", "Completeness error, as a share of the sum", caption, ""},
                 complete, at::stack(columns, 1), {}, context, writer);
}

}  // namespace attribution
