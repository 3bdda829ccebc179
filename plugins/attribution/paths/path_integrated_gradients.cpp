#include "paths/path_integrated_gradients.h"

#include <algorithm>

#include "baselines/field_value.h"
#include "result.h"

namespace attribution {

using namespace microtome;

namespace {

const std::vector<std::string>& path_words() {
  static const std::vector<std::string> words = {"straight", "power",  "waypoints", "bezier",
                                                 "blur",     "guided", "given"};
  return words;
}

/// The first sample that is marked, by id.
std::string first_of(const at::Tensor& marked, const Batch& batch) {
  return batch.ids.at(static_cast<std::size_t>(marked.nonzero()[0].item<std::int64_t>()));
}

}  // namespace

void PathIntegratedGradients::describe(StageSpec<Params>& spec) {
  spec.summary("Integrated gradients along any path from a baseline to the input.");
  spec.details(
      "Sums (path(a[k+1]) - path(a[k])) times the gradient at the middle of each step, so a path "
      "needs no derivative. Attributions sum to the score difference between the path's ends, up "
      "to the completeness delta. Reparametrising a path changes nothing; bending it does.");
  spec.paper(
      "Sundararajan, Taly, Yan 2017, Axiomatic attribution for deep networks (arXiv 1703.01365), "
      "section 3");
  spec.paper(
      "Xu, Venugopalan, Sundararajan 2020, Attribution in scale and space (arXiv 2004.03383), for "
      "blur");
  spec.paper(
      "Kapishnikov, Venugopalan, Avci, Wedin, Terry, Bolukbasi 2021, Guided integrated gradients "
      "(arXiv 2106.09788), for guided");
  describe_attribution(spec);
  describe_baselines(spec);
  spec.input("path", {kind::attributions, kind::activations})
      .optional()
      .doc(
          "for given: a tensor `path`, N x points x ..., of the same samples, from the baseline "
          "to the input");
  spec.parameter("path", &Params::path)
      .choices(path_words())
      .doc(
          "straight; power: alpha^exponent for each feature; waypoints: straight pieces through "
          "`points`; bezier: the curve with `points` as control points; blur: from the most "
          "blurred image, whatever the baseline; guided: features of least gradient first; given: "
          "through the points of the input `path`, or of the field in `points`");
  spec.parameter("steps", &Params::steps).range(1, 65536).doc("steps along the path");
  spec.parameter("exponents", &Params::exponents)
      .range(1e-6, 1e6)
      .doc("for power: one, one for each channel, or one for each element of the value");
  spec.parameter("points", &Params::points)
      .doc(
          "for waypoints and bezier: fields of the dataset, each a value in place of the model's "
          "input, in the order of the path, without its ends; for given: one field, N x points x "
          "the value at `at`, with both ends");
  spec.parameter("sigma", &Params::sigma)
      .range(1e-6, 1e4)
      .unit("pixels")
      .doc("for blur: standard deviation of the most blurred image");
  spec.parameter("fraction", &Params::fraction)
      .range(1e-6, 1)
      .doc("for guided: share of the features that move at a time");
  spec.parameter("most_apart", &Params::most_apart)
      .range(0, 1)
      .doc("for guided: how far from the straight line a feature may be, as a share of its way");
}

void PathIntegratedGradients::plan(const PlanInputs& inputs, Plan& plan) const {
  BaselineStage::plan(inputs, plan);
  const bool has_points = params_.path == PathKind::waypoints || params_.path == PathKind::bezier;
  if (has_points && params_.points.empty())
    inputs.problems().add({}, "points: name the fields that the path goes by");
  const bool is_given = params_.path == PathKind::given;
  const std::size_t fields = params_.points.size();
  if (!has_points && !is_given && fields > 0)
    inputs.problems().add({}, "points are for path: waypoints, bezier and given");
  if (inputs.connected("path") && !is_given)
    inputs.problems().add({}, "the input \"path\" is for path: given");
  if (is_given && (inputs.connected("path") ? fields != 0 : fields != 1))
    inputs.problems().add({}, "path: given needs the input \"path\" or one field in `points`");
  for (const std::string& point : params_.points) {
    if (!is_given) {
      check_field_value(inputs, common().at, point, "points");
    } else if (const DatasetInfo* data = inputs.dataset("data");
               data != nullptr && data->find(point) == nullptr) {
      inputs.problems().add({}, "points: the dataset has no field \"" + point + "\"");
    }
  }
  if (const auto info = inputs.resolve("model", common().at); info && !info->shape.empty()) {
    if (params_.path == PathKind::blur && info->shape.size() != 4)
      inputs.problems().add(common().at.location, "path: blur needs maps, N x C x H x W");
  }
  if (const OutputPlan* given = inputs.artifact("path")) {
    if (std::none_of(given->tensors.begin(), given->tensors.end(),
                     [](const TensorInfo& tensor) { return tensor.name == "path"; }))
      inputs.problems().add({}, "the input \"path\" has no tensor of that name");
  }
}

at::Tensor PathIntegratedGradients::exponents(const at::Tensor& value, const Axes& axes) const {
  const at::Tensor numbers = at::tensor(params_.exponents, at::kDouble).to(value.options());
  const std::int64_t elements = value.numel() / value.size(0);
  if (numbers.numel() == 1) return numbers;
  if (numbers.numel() == elements) {
    std::vector<std::int64_t> sizes = value.sizes().vec();
    sizes[0] = 1;
    return numbers.view(sizes);
  }
  std::string channels;
  if (has_axis("c", axes)) {
    const std::int64_t dimension = axis_dimension("c", axes, value.dim());
    if (numbers.numel() == value.size(dimension)) {
      std::vector<std::int64_t> sizes(static_cast<std::size_t>(value.dim()), 1);
      sizes[static_cast<std::size_t>(dimension)] = -1;
      return numbers.view(sizes);
    }
    channels = std::to_string(value.size(dimension)) + " channels and ";
  }
  throw Error("exponents: there are " + std::to_string(numbers.numel()) + ", and the value has " +
              channels + std::to_string(elements) + " elements");
}

std::vector<at::Tensor> PathIntegratedGradients::control_points(const AttributionInput& input,
                                                                const at::Tensor& value) const {
  std::vector<at::Tensor> points;
  points.reserve(params_.points.size());
  for (const std::string& name : params_.points)
    points.push_back(field_value(input, common().at, name, value, "points"));
  return points;
}

Path PathIntegratedGradients::path(const AttributionInput& input, const at::Tensor& start,
                                   const at::Tensor& end, Context& context) const {
  switch (params_.path) {
    case PathKind::straight:
      return polyline({start, end});
    case PathKind::power:
      return power_path(start, end, exponents(end, input.model.resolve(common().at).axes));
    case PathKind::blur:
      return blur_path(end, params_.sigma);
    case PathKind::given: {
      const bool is_field = !params_.points.empty();
      const at::Tensor all =
          (is_field ? input.batch.fields.at(params_.points[0])
                    : rows_of_samples(context.artifact("path"), "path", input.batch.ids))
              .to(end.options());
      if (all.dim() != end.dim() + 1 || all.size(1) < 2 ||
          all.select(1, 0).sizes() != end.sizes()) {
        throw Error((is_field ? "the field \"" + params_.points[0] + "\"" : "the input \"path\"") +
                    " must be N x points x the shape of the value at \"" + common().at.text() +
                    "\", with two points at least");
      }
      const at::Tensor off = (all.select(1, all.size(1) - 1) - end).flatten(1).abs().amax(1);
      const at::Tensor wrong = off > 1e-4 * end.flatten(1).abs().amax(1).clamp_min(1e-12);
      if (wrong.any().item<bool>())
        throw Error("the path of sample \"" + first_of(wrong, input.batch) +
                    "\" does not end at the sample's own value");
      return polyline(all.unbind(1));
    }
    default: {
      std::vector<at::Tensor> points = control_points(input, end);
      points.insert(points.begin(), start);
      points.push_back(end);
      return params_.path == PathKind::bezier ? bezier(std::move(points))
                                              : polyline(std::move(points));
    }
  }
}

Attributions PathIntegratedGradients::attribute(const AttributionInput& input,
                                                Context& context) const {
  const ScoreFunction score = score_function(input, context);
  const at::Tensor& end = score.value();
  const auto check = [&] { context.check_cancelled(); };
  const at::Tensor scores = score.clean_scores().to(at::kDouble);
  at::Tensor values, baseline_scores;
  // These begin where they begin, once.
  const bool has_own_start = params_.path == PathKind::blur || params_.path == PathKind::given;
  const std::size_t count = has_own_start ? 1 : baselines().size();
  for (std::size_t i = 0; i < count; ++i) {
    at::Tensor start;
    if (!has_own_start) start = baselines().at_hook(input, common().at, i, end, context);
    at::Tensor integral;
    if (params_.path == PathKind::guided) {
      integral = guided_integral(score, start, end,
                                 {params_.steps, params_.fraction, params_.most_apart}, check);
    } else {
      const Path along = path(input, start, end, context);
      start = along(0);
      integral = path_integral(score, along, params_.steps, check);
    }
    const at::Tensor at_start = score.scores(start, {}, baseline_words).to(at::kDouble);
    const auto share = 1 / static_cast<double>(count);
    values = i == 0 ? integral * share : values + integral * share;
    baseline_scores = i == 0 ? at_start * share : baseline_scores + at_start * share;
  }
  Attributions result = attributions(score, scores, values);
  result.completeness_delta = row_sums(values) - (scores - baseline_scores);
  return result;
}

}  // namespace attribution
