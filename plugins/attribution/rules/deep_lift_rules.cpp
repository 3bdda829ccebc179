#include "rules/deep_lift_rules.h"

#include <algorithm>
#include <set>
#include <string>

#include "rules/operators.h"
#include "rules/pairs.h"
#include "rules/reveal_cancel.h"

namespace attribution {

using namespace microtome;

namespace {

/// Functions whose slope is nowhere far above 1, so that it stands for the multiplier of any small
/// difference.
bool has_small_slope(const BackwardCall& call) {
  static const std::set<std::string> names = {
      "aten::relu",      "aten::relu6",       "aten::leaky_relu", "aten::prelu",
      "aten::elu",       "aten::hardtanh",    "aten::clamp",      "aten::clamp_min",
      "aten::clamp_max", "aten::hardsigmoid", "aten::hardswish",  "aten::sigmoid",
      "aten::tanh",      "aten::gelu",        "aten::silu",       "aten::softplus",
      "aten::threshold", "aten::mish"};
  return names.contains(call.node.operation);
}

/// Multipliers of a function of one value at a time.
std::vector<at::Tensor> rescale(const BackwardCall& call, std::int64_t samples) {
  if (!call.recorded.at(0) || recorded_arguments(call).size() != 1)
    refuse(call, "deep_lift", "is not a function of one value alone here");
  const std::size_t place = tensor_places(call).at(0);
  const Pair input = argument_pair(call, 0, call.arguments[place].toTensor(), samples).bounded();
  const Pair output = output_pair(call, call.outputs[0], samples).bounded();
  const at::Tensor arriving = output_pair(call, call.output_gradients[0], samples).sample;
  // Not pulled back with what arrives: 0 times an infinite slope is not a number.
  const at::Tensor slopes =
      pull_back(call, call.arguments, {place}, at::ones_like(call.outputs[0]))[0];
  std::vector<at::Tensor> result = no_gradients(call);
  const at::Tensor slope = argument_pair(call, 0, slopes, samples).sample;
  const at::Tensor found =
      has_small_slope(call)
          ? ratio(output.difference(), input.difference(), slope)
          : multiplier(output.difference(), input.difference(), slope, output.sample);
  result[0] = input.both(arriving * found);
  return result;
}

/// Each window gives the difference of its maximum to the place of the sample's maximum where it
/// rose, to that of the reference's where it fell; windows that overlap add up.
std::vector<at::Tensor> max_pooling(const BackwardCall& call, std::int64_t samples) {
  const Pair input = argument_pair(call, 0, call.arguments.at(0).toTensor(), samples).bounded();
  const Pair output = output_pair(call, call.outputs[0], samples).bounded();
  const Pair arriving = output_pair(call, call.output_gradients[0], samples);
  const at::Tensor larger = at::max(output.sample, output.reference);
  const at::Tensor given = output.joined(arriving.sample * (larger - output.reference),
                                         arriving.sample * (output.sample - larger));
  const Pair placed =
      argument_pair(call, 0, pull_back(call, call.arguments, {0}, given)[0], samples);
  const Pair gradient = argument_pair(call, 0, call.standard()[0], samples);
  return {input.both(ratio(placed.sample + placed.reference, input.difference(), gradient.sample))};
}

/// A product of two values: each gets the mean of the other over sample and reference, so that the
/// two shares add up to the difference of the product.
std::vector<at::Tensor> product(const BackwardCall& call, std::int64_t samples) {
  const std::vector<std::size_t> recorded = recorded_arguments(call);
  if (recorded.size() == 1) return call.standard();
  std::vector<c10::IValue> arguments = call.arguments;
  const std::vector<std::size_t> places = tensor_places(call);
  std::vector<std::size_t> wanted;
  for (const std::size_t i : recorded) {
    wanted.push_back(places.at(i));
    const Pair pair = argument_pair(call, i, arguments[wanted.back()].toTensor(), samples);
    arguments[wanted.back()] = pair.both(pair.mean());
  }
  const std::vector<at::Tensor> found =
      pull_back(call, arguments, wanted, call.output_gradients[0]);
  std::vector<at::Tensor> result = no_gradients(call);
  for (std::size_t k = 0; k < recorded.size(); ++k) {
    const Pair pair = argument_pair(call, recorded[k], found[k], samples);
    result[recorded[k]] = pair.both(pair.sample);
  }
  return result;
}

/// a / b as the product of a and 1 / b, whose own multiplier is -1 / (b b').
std::vector<at::Tensor> quotient(const BackwardCall& call, std::int64_t samples) {
  if (recorded_arguments(call).size() == 1 && call.recorded.at(0)) return call.standard();
  if (call.arguments.size() > 2) refuse(call, "deep_lift", "rounds; there is no rule for that");
  const at::Tensor& above = call.arguments.at(0).toTensor();
  const at::Tensor& below = call.arguments.at(1).toTensor();
  const Pair b = output_pair(call, below.expand_as(call.outputs[0]), samples);
  const Pair a = output_pair(call, above.expand_as(call.outputs[0]), samples);
  at::Tensor arriving = output_pair(call, call.output_gradients[0], samples).sample;
  const Pair inverse = Pair{b.sample.reciprocal(), b.reference.reciprocal()}.bounded();
  at::Tensor of_inverse = (b.sample * b.reference).reciprocal().neg();
  const at::Tensor by_zero = of_inverse.isfinite().logical_not();
  if (by_zero.any().item<bool>()) {
    of_inverse = at::where(
        by_zero, multiplier(inverse.difference(), b.difference(), of_inverse, inverse.sample),
        of_inverse);
    // What bounds the inverse bounds the quotient to another number: shares of that one are given.
    const Pair output = output_pair(call, call.outputs[0], samples).bounded();
    const at::Tensor shared = a.difference() * inverse.mean() + a.mean() * inverse.difference();
    arriving =
        arriving * at::where(by_zero, ratio(output.difference(), shared, at::zeros_like(shared)),
                             at::ones_like(shared));
  }
  std::vector<at::Tensor> result = no_gradients(call);
  if (call.recorded[0]) result[0] = a.both(arriving * inverse.mean()).sum_to_size(above.sizes());
  result.back() = b.both(arriving * a.mean() * of_inverse).sum_to_size(below.sizes());
  return result;
}

/// The Euclidean norm along some dimensions: of sqrt(sum(x^2)) the multiplier is (x + x') / (n +
/// n'), where both are 0 nothing.
std::vector<at::Tensor> norm(const BackwardCall& call, std::int64_t samples) {
  const c10::IValue& order = call.arguments.at(1);
  if (!order.isNone() && !(order.isScalar() && order.toScalar().toDouble() == 2))
    refuse(call, "deep_lift", "is not the Euclidean norm; there is no rule for others");
  const at::Tensor& whole = call.arguments[0].toTensor();
  const Pair input = argument_pair(call, 0, whole, samples);
  std::vector<std::int64_t> dimensions;
  if (call.arguments.size() > 2 && call.arguments[2].isIntList())
    dimensions = call.arguments[2].toIntVector();
  for (std::int64_t& dimension : dimensions)
    if (dimension < 0) dimension += whole.dim();
  std::sort(dimensions.begin(), dimensions.end());
  const bool joins_samples =
      std::find(dimensions.begin(), dimensions.end(), input.dimension) != dimensions.end();
  if (dimensions.empty() || joins_samples)
    refuse(call, "deep_lift", "joins the samples; there is no rule for that");
  const auto spread = [&](at::Tensor rows) {
    if (rows.dim() < whole.dim()) {
      for (const std::int64_t dimension : dimensions) rows = rows.unsqueeze(dimension);
    }
    // The samples are where they are in the argument, now that the dimensions are back.
    return argument_pair(call, 0, rows, samples);
  };
  const Pair length = spread(call.outputs[0]);
  const at::Tensor arriving = spread(call.output_gradients[0]).sample;
  const at::Tensor lengths = length.sample + length.reference;
  const at::Tensor none = lengths == 0;
  std::vector<at::Tensor> result = no_gradients(call);
  result[0] =
      input.both(arriving * (input.sample + input.reference) / lengths.masked_fill(none, 1));
  return result;
}

/// exp(x - log(sum(exp(x)))), each step of it rescaled: all of them are bounded, which those of a
/// quotient of exponentials are not.
std::vector<at::Tensor> softmax(const BackwardCall& call, std::int64_t samples) {
  const std::int64_t dimension = call.arguments.at(1).toInt();
  const Pair input = argument_pair(call, 0, call.arguments.at(0).toTensor(), samples).bounded();
  const Pair output = output_pair(call, call.outputs[0], samples);
  const at::Tensor arriving = output_pair(call, call.output_gradients[0], samples).sample;
  const Pair sum_in_log{input.sample.logsumexp(dimension, true),
                        input.reference.logsumexp(dimension, true)};
  const at::Tensor of_logarithm =
      arriving *
      ratio(output.difference(), input.difference() - sum_in_log.difference(), output.sample);
  // The same shift for both, so that it cancels.
  const at::Tensor shift = at::max(input.sample, input.reference).amax(dimension, true);
  const Pair power{(input.sample - shift).exp(), (input.reference - shift).exp()};
  const Pair sum{power.sample.sum(dimension, true), power.reference.sum(dimension, true)};
  const at::Tensor shares = ratio(power.difference(), input.difference(), power.sample) *
                            ratio(sum_in_log.difference(), sum.difference(),
                                  sum.sample.clamp_min(least_difference).reciprocal());
  return {input.both(of_logarithm - of_logarithm.sum(dimension, true) * shares)};
}

}  // namespace

BackwardRules deep_lift_rules(DeepLiftRule rule, std::int64_t samples) {
  BackwardRules rules;
  const auto with = [samples](auto made) {
    return [made, samples](const BackwardCall& call) { return made(call, samples); };
  };
  if (rule == DeepLiftRule::reveal_cancel) {
    add_reveal_cancel(rules, samples);
    // So that the sign of each addend's part is seen.
    rules.merge_batch_norms();
  }
  for (const std::string& operation : moving_operators()) rules.keep(operation);
  for (const std::string& operation : averaging_operators()) rules.keep(operation);
  for (const char* operation :
       {"aten::add", "aten::sub", "aten::rsub", "aten::neg", "aten::batch_norm", "aten::cumsum"})
    rules.keep(operation);
  for (const std::string& operation : elementwise_operators()) rules.on(operation, with(rescale));
  rules.on("aten::pow", with(rescale));
  for (const std::string& operation : max_pooling_operators())
    rules.on(operation, with(max_pooling));
  for (const std::string& operation : layer_operators()) rules.on(operation, with(product));
  for (const char* operation : {"aten::mul", "aten::bmm", "aten::baddbmm"})
    rules.on(operation, with(product));
  rules.on("aten::div", with(quotient));
  for (const char* operation : {"aten::norm", "aten::linalg_vector_norm"})
    rules.on(operation, with(norm));
  rules.on("aten::softmax", with(softmax));
  rules.refuse_others("deep_lift");
  return rules;
}

}  // namespace attribution
