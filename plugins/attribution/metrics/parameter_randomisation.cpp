#include "metrics/parameter_randomisation.h"

#include <algorithm>
#include <array>
#include <map>

#include "inner_method.h"
#include "metrics/agreement.h"

namespace attribution {

using namespace microtome;

namespace {

constexpr std::array measures = {"rank_correlation", "rank_correlation_of_sizes",
                                 "structural_similarity"};

/// Drawn with replacement from the parameter's own values, which keeps their distribution.
at::Tensor drawn_anew(const at::Tensor& own, std::uint64_t stream, const Context& context) {
  at::Generator generator = context.generator((std::uint64_t{1} << 61) + stream);
  const at::Tensor chosen =
      at::randint(own.numel(), {own.numel()}, generator, at::TensorOptions().dtype(at::kLong));
  return own.flatten().index_select(0, chosen.to(own.device())).view(own.sizes());
}

/// Divided by the root of the mean square, so that maps of other scales can be compared.
at::Tensor by_second_moment(const at::Tensor& rows) {
  return rows / rows.square().mean(1, true).sqrt().clamp_min(1e-300);
}

}  // namespace

std::vector<ParameterLayer> layers_from_the_top(const Model& model) {
  std::vector<ParameterLayer> layers;
  std::map<std::string, std::size_t> places;
  for (const auto& [name, value] : model.parameters()) {
    if (!value.is_floating_point() || value.numel() < 2) continue;
    const auto dot = name.rfind('.');
    const std::string module = dot == std::string::npos ? "" : name.substr(0, dot);
    const auto [found, is_new] = places.emplace(module, layers.size());
    if (is_new) layers.push_back({module, {}});
    layers[found->second].parameters.push_back(name);
  }
  // In the order in which they first run; what never runs comes at the end.
  std::map<std::string, std::size_t> runs;
  for (const GraphNode& node : model.graph().nodes) runs.emplace(node.module, runs.size());
  const auto place = [&](const ParameterLayer& layer) {
    const auto found = runs.find(layer.module);
    return found == runs.end() ? runs.size() : found->second;
  };
  std::stable_sort(layers.begin(), layers.end(),
                   [&](const auto& a, const auto& b) { return place(a) < place(b); });
  std::reverse(layers.begin(), layers.end());
  return layers;
}

void ParameterRandomisation::describe(StageSpec<Params>& spec) {
  spec.summary(
      "Parameter randomisation: whether an attribution depends on what the network has learnt.");
  spec.details(
      "Layers are drawn anew from the top down, each parameter with replacement from its own "
      "values; attributions of the same target are compared with those of the trained network, by "
      "Spearman's correlation, the same of sizes alone, and structural similarity, after dividing "
      "by the root of the mean square. A method that stays like itself says little about the "
      "network.");
  spec.paper(
      "Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim 2018, Sanity checks for saliency maps "
      "(arXiv "
      "1810.03292)");
  spec.input("model", {kind::model}).doc("the network that is explained");
  spec.input("data", {kind::dataset}).doc("the samples that are explained");
  spec.output("metrics", kind::metrics)
      .doc(
          "`curves`, measure x depth, and for each sample `likeness`, N x depth x measure, means "
          "over seeds");
  spec.parameter("method", &Params::method).required().doc("the attribution method");
  spec.parameter("seeds", &Params::seeds).range(1, 1000).doc("draws of each layer");
  spec.parameter("depths", &Params::depths)
      .range(1, 1000)
      .doc("at how many depths of the cascade the attributions are compared");
  describe_over(spec);
}

std::vector<std::size_t> ParameterRandomisation::depths(std::size_t layers) const {
  const auto count = std::min<std::size_t>(static_cast<std::size_t>(params_.depths), layers);
  std::vector<std::size_t> result;
  result.reserve(count);
  for (std::size_t i = 1; i <= count; ++i) result.push_back((layers * i + count - 1) / count);
  return result;
}

void ParameterRandomisation::plan(const PlanInputs& inputs, Plan& plan) const {
  method_of(params_.method);
  params_.method.stage->plan(inputs, plan);
  plan.random = true;
  std::int64_t depth = -1;
  if (const Model* model = inputs.model("model")) {
    const auto layers = layers_from_the_top(*model);
    if (layers.empty())
      inputs.problems().add({},
                            "the model has no parameters by name, so none can be drawn anew; it "
                            "was frozen before it was saved");
    depth = static_cast<std::int64_t>(depths(layers.size()).size());
  }
  plan.outputs = {{"metrics",
                   kind::metrics,
                   {{"curves", at::kFloat, {3, depth}, false},
                    {"likeness", at::kFloat, {-1, depth, 3}, true}}}};
}

void ParameterRandomisation::batch(State& state, Chunk& chunk, Context& context) const {
  const AttributionMethod& method = method_of(params_.method);
  const Model& trained = *chunk.model;
  const AttributionInput plain{trained, chunk.inputs, chunk.batch, &context.dataset("data"),
                               nullptr};
  const TargetScore target = method.target_score(plain, context);
  struct Map {
    at::Tensor rows;
    std::int64_t height = 0, width = 0;
  };
  const auto attributed = [&](const Model& model) {
    const AttributionInput input{model, chunk.inputs, chunk.batch, plain.data, &target};
    const Attributions found = method.attribute(input, context);
    demand_finite(
        found.values, chunk.batch.ids,
        &model == &trained ? "the attribution" : "the attribution of the network drawn anew");
    const Axes axes = found.axes.empty() ? model.resolve(method.common().at).axes : found.axes;
    const bool has_places = has_axis("c", axes) && has_axis("y", axes);
    const at::Tensor values = has_places ? channels_first(found.values, axes) : found.values;
    Map map{by_second_moment(relevance_of(values, params_.over))};
    if (values.dim() == 4) map.height = values.size(2), map.width = values.size(3);
    return map;
  };
  const Map own = attributed(trained);
  const bool is_map = own.height >= 7 && own.width >= 7;
  const std::vector<ParameterLayer> layers = layers_from_the_top(trained);
  const std::vector<std::size_t> wanted = depths(layers.size());
  const NamedTensors parameters = trained.parameters();
  at::Tensor likeness =
      at::zeros({own.rows.size(0), static_cast<std::int64_t>(wanted.size()), 3}, at::kDouble);
  for (std::int64_t seed = 0; seed < params_.seeds; ++seed) {
    NamedTensors replaced;
    std::size_t done = 0;
    for (std::size_t depth = 0; depth < wanted.size(); ++depth) {
      context.check_cancelled();
      for (; done < wanted[depth]; ++done) {
        for (const std::string& name : layers[done].parameters) {
          const std::uint64_t stream = (static_cast<std::uint64_t>(seed) << 32) + replaced.size();
          replaced.set(name, drawn_anew(parameters.at(name), stream, context));
        }
      }
      const Map other = attributed(*trained.with_parameters(replaced));
      at::Tensor here = likeness.select(1, static_cast<std::int64_t>(depth));
      here.select(1, 0) += rank_correlation(own.rows, other.rows);
      here.select(1, 1) += rank_correlation(own.rows.abs(), other.rows.abs());
      if (is_map) {
        const std::vector<std::int64_t> sizes{-1, own.height, own.width};
        here.select(1, 2) += structural_similarity(own.rows.view(sizes), other.rows.view(sizes));
      }
    }
  }
  likeness /= static_cast<double>(params_.seeds);
  chunk.emit("metrics", "likeness", likeness.to(at::kFloat));
  state.parts = {likeness};
}

void ParameterRandomisation::finish(State& state, Context& context) const {
  ArtifactWriter& writer = context.output("metrics");
  const at::Tensor all = state.all();
  writer.tensor("curves", all.mean(0).t().contiguous().to(at::kFloat));
  const std::vector<ParameterLayer> layers = layers_from_the_top(context.model("model"));
  const std::vector<std::size_t> wanted = depths(layers.size());
  Value::List rows, series;
  for (const char* measure : measures) series.emplace_back(measure);
  for (std::size_t depth = 0; depth < wanted.size(); ++depth) {
    const std::string& module = layers[wanted[depth] - 1].module;
    Value::List row{Value(module)};
    for (std::size_t m = 0; m < measures.size(); ++m) {
      const at::Tensor values =
          all.select(1, static_cast<std::int64_t>(depth)).select(1, static_cast<std::int64_t>(m));
      Metric metric;
      metric.name = measures[m];
      metric.value = values.mean().item<double>();
      metric.interval = bootstrap_interval(
          values, context.generator((std::uint64_t{1} << 62) + depth * measures.size() + m));
      metric.n = values.numel();
      metric.resampling_unit = "sample";
      metric.chance = 0;
      metric.null_description = "an attribution that has nothing in common";
      metric.details.set("method", params_.method.uses);
      metric.details.set("drawn_down_to", module);
      metric.details.set("seeds", params_.seeds);
      for (const double number : {metric.value, metric.interval->low, metric.interval->high})
        row.emplace_back(number);
      writer.metric(metric);
    }
    rows.emplace_back(std::move(row));
  }
  View line{View::Type::line,
            "Likeness to the trained network's attributions",
            "As layers are drawn anew from the top down; the layers are those of the table.",
            {"curves"},
            Value()};
  line.options.set("series", Value(series));
  line.options.set("x", "depth of the cascade");
  line.options.set("y", "likeness");
  line.options.set("first", 1);
  writer.view(std::move(line));
  writer.view(table_view("Drawn anew down to",
                         {"layer", "rank correlation", "low", "high", "of sizes", "low ", "high ",
                          "structural similarity", "low  ", "high  "},
                         std::move(rows), "Intervals at 95 % by bootstrap over samples."));
}

}  // namespace attribution
