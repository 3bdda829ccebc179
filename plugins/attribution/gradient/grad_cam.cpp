#include "gradient/grad_cam.h"

#include <algorithm>

#include "gradient/rectifier_rules.h"
#include "result.h"

namespace attribution {

using namespace microtome;

namespace {

/// Channels and the two axes of a picture, y before x.
bool is_of_maps(const Axes& axes) {
  Axes places = axes;
  std::erase(places, "c");
  return axes.size() == 3 && places == Axes{"y", "x"};
}

std::string refusal(const HookPoint& layer, const Axes& axes) {
  return "a class activation map is of a layer with channels, height and width (c, y, x in any "
         "place); the axes of \"" +
         layer.text() + "\" are " + (axes.empty() ? "not known" : axes_text(axes));
}

/// Of channel weights N x C and a layer's value: the weighted sum's positive part, N x 1 x H x W.
at::Tensor map_of(const at::Tensor& weights, const at::Tensor& value) {
  return (weights.unsqueeze(2).unsqueeze(3) * value).sum(1, true).clamp_min(0);
}

at::Tensor grad_cam(const at::Tensor& gradient, const at::Tensor& value) {
  return map_of(gradient.mean({2, 3}), value);
}

/// What a class activation map is made from: the layer's value and its gradient, with the channels
/// first, wherever the network has them.
struct Layer {
  at::Tensor value, gradient;
};

Layer layer_of(const ScoreFunction& score, const at::Tensor& gradient) {
  if (!is_of_maps(score.axes())) throw Error(refusal(score.at(), score.axes()));
  return {channels_first(score.value(), score.axes()), channels_first(gradient, score.axes())};
}

/// Attributions that are a map of one channel.
Attributions map_result(const ScoreFunction& score, const at::Tensor& scores,
                        const at::Tensor& map) {
  Attributions result = attributions(score, scores, map);
  result.axes = {"c", "y", "x"};
  return result;
}

at::Tensor resized(const at::Tensor& maps, const at::Tensor& like) {
  return at::upsample_bilinear2d(maps, {like.size(2), like.size(3)}, false);
}

void check_layer(const PlanInputs& inputs, const HookPoint& layer) {
  const auto info = inputs.resolve("model", layer);
  if (info && !info->shape.empty() && !is_of_maps(info->axes))
    inputs.problems().add(layer.location, refusal(layer, info->axes));
}

}  // namespace

void ActivationMap::describe_map(StageSpec<AttributionParams>& spec) {
  describe_attribution(spec, true);
}

void ActivationMap::plan(const PlanInputs& inputs, Plan& plan) const {
  AttributionStage::plan(inputs, plan);
  check_layer(inputs, common().at);
  for (TensorInfo& tensor : plan.outputs[0].tensors) {
    if (tensor.name != "attributions" || tensor.shape.size() != 4) continue;
    const auto info = inputs.resolve("model", common().at);
    if (!info || !is_of_maps(info->axes)) continue;
    const at::Tensor map = channels_first(at::zeros(info->shape), info->axes);
    tensor.shape = {-1, 1, map.size(2), map.size(3)};
  }
}

void GradCam::describe(StageSpec<Params>& spec) {
  spec.summary("Grad-CAM: where a layer's channels that raise a score are active.");
  spec.details(
      "Channels are weighed by the mean over places of the gradient; of their sum the positive "
      "part is kept. The map has the layer's resolution.");
  spec.paper("Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra 2016, Grad-CAM (arXiv 1610.02391)");
  describe_map(spec);
}

Attributions GradCam::attribute(const AttributionInput& input, Context& context) const {
  const ScoreFunction score = score_function(input, context);
  const ScoreFunction::Gradient gradient = score.gradient(score.value());
  const Layer layer = layer_of(score, gradient.values);
  return map_result(score, gradient.scores, grad_cam(layer.gradient, layer.value));
}

void GradCamPlusPlus::describe(StageSpec<Params>& spec) {
  spec.summary("Grad-CAM++: Grad-CAM whose places are weighed, so that several objects count.");
  spec.details(
      "The paper's closed form for the score exp(logit): alpha = g^2 / (2 g^2 + sum A g^3), 0 "
      "where "
      "that is 0/0; a channel's weight is the sum over places of alpha times the positive part of "
      "the gradient. The factor exp(logit), one number for a whole sample, is left out, as it "
      "overflows.");
  spec.paper(
      "Chattopadhyay, Sarkar, Howlader, Balasubramanian 2017, Grad-CAM++ (arXiv 1710.11063)");
  describe_map(spec);
}

Attributions GradCamPlusPlus::attribute(const AttributionInput& input, Context& context) const {
  const ScoreFunction score = score_function(input, context);
  const ScoreFunction::Gradient gradient = score.gradient(score.value());
  const Layer layer = layer_of(score, gradient.values);
  const at::Tensor &value = layer.value, g = layer.gradient.to(at::kDouble);
  const at::Tensor squared = g * g;
  const at::Tensor below = 2 * squared + value.to(at::kDouble).sum({2, 3}, true) * squared * g;
  const at::Tensor alpha = at::where(below == 0, at::zeros_like(below), squared / below);
  const at::Tensor weights = (alpha * g.clamp_min(0)).sum({2, 3}).to(at::kFloat);
  return map_result(score, gradient.scores, map_of(weights, value));
}

void ScoreCam::describe(StageSpec<Params>& spec) {
  spec.summary(
      "Score-CAM: a layer's channels, weighed by how far each of them, as a mask, lets the "
      "score rise.");
  spec.details(
      "Each channel is brought to the image's size and to 0..1, multiplies the image in model "
      "space, and raises the score above that of the zero image by some amount; the weights are "
      "the "
      "softmax of these over channels. One run of the network for each channel and sample.");
  spec.paper("Wang et al. 2019, Score-CAM (arXiv 1910.01279)");
  describe_map(spec);
}

void ScoreCam::plan(const PlanInputs& inputs, Plan& plan) const {
  ActivationMap::plan(inputs, plan);
  plan.gradients = false;
  const Model* model = inputs.model("model");
  if (model != nullptr && model->inputs().size() != 1)
    inputs.problems().add({}, "score_cam masks the image, and the model has several inputs");
}

Attributions ScoreCam::attribute(const AttributionInput& input, Context& context) const {
  const ScoreFunction score = score_function(input, parse_hook_point("input"), context);
  const at::Tensor& image = score.value();
  if (!is_map(score.axes()) && image.dim() != 4)
    throw Error("score_cam needs images, N x C x H x W");
  Pass pass;
  pass.capture = {common().at};
  pass.outputs = false;
  const Recording run = input.model.run(input.inputs, pass);
  if (!is_of_maps(run.axes[0])) throw Error(refusal(common().at, run.axes[0]));
  const at::Tensor value = channels_first(run.captured[0], run.axes[0]);
  const at::Tensor plain = score.clean_scores();
  const at::Tensor empty = score.scores(at::zeros_like(image), {}, "the image of zeros");
  std::vector<at::Tensor> rises;
  for (std::int64_t channel = 0; channel < value.size(1); ++channel) {
    context.check_cancelled();
    const at::Tensor mask = resized(value.slice(1, channel, channel + 1), image);
    const at::Tensor least = mask.amax({1, 2, 3}, true) - mask.amin({1, 2, 3}, true);
    // A channel that is the same everywhere masks nothing out and tells nothing.
    const at::Tensor scaled =
        (mask - mask.amin({1, 2, 3}, true)) / at::where(least == 0, at::ones_like(least), least);
    rises.push_back(score.scores(image * scaled) - empty);
  }
  return map_result(score, plain, map_of(at::stack(rises, 1).softmax(1), value));
}

void GuidedGradCam::describe(StageSpec<Params>& spec) {
  spec.summary("Guided Grad-CAM: guided backpropagation where a layer's Grad-CAM is active.");
  spec.paper("Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra 2016, Grad-CAM (arXiv 1610.02391)");
  describe_attribution(spec);
  spec.parameter("layer", &Params::layer)
      .of("model")
      .required()
      .doc("the layer of the map, N x channels x height x width");
}

void GuidedGradCam::plan(const PlanInputs& inputs, Plan& plan) const {
  check_layer(inputs, params_.layer);
  check_rectifiers(inputs);
  AttributionStage::plan(inputs, plan);
}

Attributions GuidedGradCam::attribute(const AttributionInput& input, Context& context) const {
  const ScoreFunction score = score_function(input, context);
  const ScoreFunction of_layer = score_function(input, params_.layer, context);
  const Layer layer = layer_of(of_layer, of_layer.gradient(of_layer.value()).values);
  const at::Tensor map = grad_cam(layer.gradient, layer.value);
  const ScoreFunction::Gradient guided =
      score.gradient(score.value(), {}, rectifier_rules(RectifierRule::guided));
  if (!is_map(score.axes()) && score.value().dim() != 4)
    throw Error("guided_grad_cam needs a value N x C x H x W at \"" + common().at.text() + "\"");
  return attributions(score, guided.scores, guided.values * resized(map, score.value()));
}

}  // namespace attribution
