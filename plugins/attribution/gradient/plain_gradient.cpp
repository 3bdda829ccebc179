#include "gradient/plain_gradient.h"

#include "result.h"

namespace attribution {

using namespace microtome;

void Saliency::describe(StageSpec<Params>& spec) {
  spec.summary("Saliency: the gradient of a score by each input, or by each unit of a layer.");
  spec.paper(
      "Simonyan, Vedaldi, Zisserman 2013, Deep inside convolutional networks (arXiv 1312.6034)");
  describe_attribution(spec);
  spec.parameter("absolute", &Params::absolute)
      .doc("the absolute value, as in the paper; false: the gradient with its sign");
}

Attributions Saliency::attribute(const AttributionInput& input, Context& context) const {
  const ScoreFunction score = score_function(input, context);
  const ScoreFunction::Gradient gradient = score.gradient(score.value());
  return attributions(score, gradient.scores,
                      params_.absolute ? gradient.values.abs() : gradient.values);
}

void InputXGradient::describe(StageSpec<Params>& spec) {
  spec.summary("Input x gradient: each value times the gradient of a score by it.");
  spec.details(
      "Equal to integrated gradients with baseline zero where the score is linear or a network of "
      "ReLUs without biases. At a layer it is gradient x activation.");
  spec.paper(
      "Shrikumar, Greenside, Shcherbina, Kundaje 2016, Not just a black box (arXiv 1605.01713)");
  describe_attribution(spec);
}

Attributions InputXGradient::attribute(const AttributionInput& input, Context& context) const {
  const ScoreFunction score = score_function(input, context);
  const ScoreFunction::Gradient gradient = score.gradient(score.value());
  return attributions(score, gradient.scores, gradient.values * score.value());
}

}  // namespace attribution
