#include "rules/deep_lift_rules.h"

#include "rules/operators.h"
#include "rules/pairs.h"
#include "rules/reveal_cancel.h"

namespace attribution {

using namespace microtome;

namespace {

/// Multipliers of a function of one value at a time.
std::vector<at::Tensor> rescale(const BackwardCall& call, std::int64_t samples) {
  const Pair input = pair_of(call, call.arguments.at(0).toTensor(), samples);
  const Pair output = pair_of(call, call.outputs[0], samples);
  const at::Tensor& arriving = call.output_gradients[0];
  if (!call.recorded.at(0) || recorded_arguments(call).size() != 1)
    refuse(call, "deep_lift", "is no function of one value alone here");
  const at::Tensor gradient = pull_back(call, call.arguments, {0}, arriving)[0];
  std::vector<at::Tensor> result = no_gradients(call);
  result[0] = both(ratio(pair_of(call, arriving, samples).sample * output.difference(),
                         input.difference(), pair_of(call, gradient, samples).sample));
  return result;
}

/// Each window gives the difference of its maximum to the place of the sample's maximum where it
/// rose, to that of the reference's where it fell; windows that overlap add up.
std::vector<at::Tensor> max_pooling(const BackwardCall& call, std::int64_t samples) {
  const Pair input = pair_of(call, call.arguments.at(0).toTensor(), samples);
  const Pair output = pair_of(call, call.outputs[0], samples);
  const Pair arriving = pair_of(call, call.output_gradients[0], samples);
  const at::Tensor larger = at::max(output.sample, output.reference);
  const at::Tensor given = at::cat(
      {arriving.sample * (larger - output.reference), arriving.sample * (output.sample - larger)});
  const Pair placed = pair_of(call, pull_back(call, call.arguments, {0}, given)[0], samples);
  const Pair gradient = pair_of(call, call.standard()[0], samples);
  return {both(ratio(placed.sample + placed.reference, input.difference(), gradient.sample))};
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
    at::Tensor mean = both(pair_of(call, arguments[wanted.back()].toTensor(), samples).mean());
    arguments[wanted.back()] = std::move(mean);
  }
  const std::vector<at::Tensor> found =
      pull_back(call, arguments, wanted, call.output_gradients[0]);
  std::vector<at::Tensor> result = no_gradients(call);
  for (std::size_t k = 0; k < recorded.size(); ++k)
    result[recorded[k]] = both(pair_of(call, found[k], samples).sample);
  return result;
}

/// a / b as the product of a and 1 / b, whose own multiplier is -1 / (b b').
std::vector<at::Tensor> quotient(const BackwardCall& call, std::int64_t samples) {
  if (recorded_arguments(call).size() == 1 && call.recorded.at(0)) return call.standard();
  if (call.arguments.size() > 2) refuse(call, "deep_lift", "rounds; there is no rule for that");
  const at::Tensor& above = call.arguments.at(0).toTensor();
  const at::Tensor& below = call.arguments.at(1).toTensor();
  const Pair b = pair_of(call, below.expand_as(call.outputs[0]), samples);
  const Pair a = pair_of(call, above.expand_as(call.outputs[0]), samples);
  const at::Tensor arriving = pair_of(call, call.output_gradients[0], samples).sample;
  std::vector<at::Tensor> result = no_gradients(call);
  if (call.recorded[0]) {
    const Pair inverse{b.sample.reciprocal(), b.reference.reciprocal()};
    result[0] = both(arriving * inverse.mean()).sum_to_size(above.sizes());
  }
  const at::Tensor of_below = -arriving * a.mean() / (b.sample * b.reference);
  result.back() = both(of_below).sum_to_size(below.sizes());
  return result;
}

/// exp(x - log(sum(exp(x)))), each step of it rescaled: all of them are bounded, which those of a
/// quotient of exponentials are not.
std::vector<at::Tensor> softmax(const BackwardCall& call, std::int64_t samples) {
  const std::int64_t dimension = call.arguments.at(1).toInt();
  const Pair input = pair_of(call, call.arguments.at(0).toTensor(), samples);
  const Pair output = pair_of(call, call.outputs[0], samples);
  const at::Tensor arriving = pair_of(call, call.output_gradients[0], samples).sample;
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
  return {both(of_logarithm - of_logarithm.sum(dimension, true) * shares)};
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
  rules.on("aten::softmax", with(softmax));
  rules.refuse_others("deep_lift");
  return rules;
}

}  // namespace attribution
