#include "pca.h"

#include <algorithm>

#include "microtome/class_numbers.h"
#include "microtome/planned_rows.h"

namespace pca {

using namespace microtome;

namespace {

constexpr double part_bytes = 64e6;
/// Up to this side the symmetric matrix of the exact method is made, 134 MB.
constexpr std::int64_t largest_side = 4096;

Rows rows_of(const FeatureRows& features, Context& context) {
  return {features.rows(), features.features(),
          [&features, &context](const std::function<void(const at::Tensor&)>& take) {
            const std::int64_t step = features.samples_in(part_bytes);
            for (std::int64_t at = 0; at < features.samples(); at += step) {
              context.check_cancelled();
              take(features.read(at, std::min(at + step, features.samples())));
            }
          }};
}

}  // namespace

void PrincipalComponents::describe(StageSpec<Params>& spec) {
  spec.summary("Principal components of activations, with explained variance and projection.");
  spec.details(
      "Features are centred, not scaled. The rows are read from disk part by part, so they need "
      "not fit in memory. The sign of a component is free; its largest entry is positive here.");
  spec.paper(
      "Halko, Martinsson, Tropp 2011, Finding structure with randomness (arXiv 0909.4061), for "
      "method: randomised");
  spec.input("activations", {kind::activations})
      .doc("rows of features: N x D, or N x positions x D");
  spec.input("labels", {kind::field}).optional().doc("a class of each sample, for the picture");
  spec.output("directions", kind::directions)
      .doc("`directions` [K, D], `mean`, `variance`, `explained_variance_ratio`");
  spec.output("projection", "projection")
      .doc("`projection`, the centred rows along each component");
  spec.parameter("layer", &Params::layer).doc("which of the activations; empty: the only ones");
  spec.parameter("components", &Params::components).range(1, 4096).doc("how many to keep");
  spec.parameter("method", &Params::method)
      .choices({"auto", "exact", "randomised"})
      .doc(
          "exact decomposes the D x D covariance, or the N x N inner products when there are fewer "
          "rows than features; auto takes it when the smaller side is at most 4096");
  spec.parameter("oversampling", &Params::oversampling)
      .range(0, 1024)
      .doc("for randomised: further directions that are searched and thrown away");
  spec.parameter("iterations", &Params::iterations)
      .range(0, 100)
      .doc("for randomised: power iterations; more where the spectrum falls slowly");
}

void PrincipalComponents::plan(const PlanInputs& inputs, Plan& plan) const {
  plan.random = params_.method != Method::exact;
  const std::int64_t features = FeatureRows::planned(inputs, "activations", params_.layer);
  if (features > 0 && params_.components > features) {
    inputs.problems().add({},
                          "components: there are only " + std::to_string(features) + " features");
  }
  const std::int64_t k = params_.components;
  plan.outputs.push_back({"directions",
                          kind::directions,
                          {{"directions", at::kFloat, {k, features}, false},
                           {"mean", at::kFloat, {features}, false},
                           {"variance", at::kDouble, {k}, false},
                           {"explained_variance_ratio", at::kDouble, {k}, false}}});
  std::vector<std::int64_t> projected = planned_rows(inputs, "activations", params_.layer);
  if (!projected.empty()) projected.push_back(k);
  plan.outputs.push_back(
      {"projection", "projection", {{"projection", at::kFloat, std::move(projected), true}}});
}

Decomposition PrincipalComponents::decompose(const FeatureRows& features, const Rows& rows,
                                             Context& context) const {
  const std::int64_t side = std::min(features.rows(), features.features());
  const bool is_exact = params_.method == Method::exact ||
                        (params_.method == Method::automatic && side <= largest_side);
  if (is_exact) return exact(rows, params_.components);
  return randomised(rows, params_.components, params_.oversampling, params_.iterations,
                    context.generator(0));
}

void PrincipalComponents::run(Context& context) const {
  const ArtifactReader& activations = context.artifact("activations");
  const FeatureRows features(activations, params_.layer);
  if (features.rows() <= params_.components) {
    throw Error("there are " + std::to_string(features.rows()) + " rows, too few for " +
                std::to_string(params_.components) + " components");
  }
  const Rows rows = rows_of(features, context);
  const Decomposition found = decompose(features, rows, context);
  const at::Tensor ratio =
      found.total_variance > 0 ? found.variance / found.total_variance : found.variance;

  ArtifactWriter& directions = context.output("directions");
  directions.tensor("directions", found.directions.to(at::kFloat));
  directions.tensor("mean", found.mean.to(at::kFloat));
  directions.tensor("variance", found.variance);
  directions.tensor("explained_variance_ratio", ratio);
  directions.metadata("hook", Value(features.layer()));
  directions.metadata("norm", Value("unit"));
  Metric explained;
  explained.name = "explained_variance";
  explained.value = ratio.sum().item<double>();
  explained.n = features.samples();
  explained.resampling_unit = "sample";
  explained.details.set("components", params_.components);
  directions.metric(explained);
  View line{View::Type::line,
            "Explained variance",
            "Share of the variance along each component.",
            {"explained_variance_ratio"},
            Value()};
  line.options.set("x", "component");
  line.options.set("y", "share of variance");
  line.options.set("first", 1);
  directions.view(std::move(line));

  ArtifactWriter& projection = context.output("projection");
  const at::Tensor axes = found.directions.t();
  const std::int64_t step = features.samples_in(part_bytes);
  for (std::int64_t at = 0; at < features.samples(); at += step) {
    context.check_cancelled();
    const std::int64_t end = std::min(at + step, features.samples());
    at::Tensor part = (features.read(at, end) - found.mean).mm(axes).to(at::kFloat);
    if (features.positions() > 1) part = part.view({end - at, features.positions(), -1});
    projection.append("projection", part);
  }
  const std::vector<std::string> ids = activations.sample_ids();
  projection.append_ids(ids);
  projection.metadata("layer", Value(features.layer()));
  View scatter{View::Type::scatter,
               "First two components",
               "Each point is a row; its place says how much of the two largest components it has.",
               {"projection"},
               Value()};
  scatter.options.set("x", "component 1");
  scatter.options.set("y", "component 2");
  if (context.connected("labels")) {
    projection.tensor("label",
                      class_numbers(context.values_of("labels", ids), context.field("labels")));
    const FieldInfo* field = context.dataset("labels").info().find(context.field("labels"));
    Value names = Value::list();
    for (const std::string& name : field->class_names) names.push_back(name);
    scatter.options.set("colour", "label");
    scatter.options.set("names", std::move(names));
  }
  if (params_.components >= 2) projection.view(std::move(scatter));
}

}  // namespace pca
