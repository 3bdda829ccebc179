#include "rules/reveal_cancel.h"

#include <algorithm>

#include "rules/operators.h"
#include "rules/pairs.h"

namespace attribution {

using namespace microtome;

namespace {

bool is_one_of(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool is_addition(const std::string& operation) {
  return operation == "aten::add" || operation == "aten::sub";
}

/// The layer's arguments with another input and the weights of one sign, without a bias.
std::vector<c10::IValue> with_signed_weights(const BackwardCall& layer, const at::Tensor& input,
                                             bool positive) {
  const LayerArguments places = layer_arguments(layer);
  std::vector<c10::IValue> arguments = layer.arguments;
  const at::Tensor& weight = layer.arguments[places.weight].toTensor();
  arguments[places.input] = input;
  arguments[places.weight] = positive ? weight.clamp_min(0) : weight.clamp_max(0);
  if (places.bias)
    arguments[*places.bias] = at::zeros_like(layer.arguments[*places.bias].toTensor());
  return arguments;
}

struct Parts {
  at::Tensor positive, negative;
};

/// What the parts of a layer's or an addition's input by themselves add to its output's difference.
Parts parts_of_output(const BackwardCall& call, std::int64_t samples) {
  Parts parts;
  if (is_addition(call.node.operation)) {
    const Pair output = output_pair(call, call.outputs[0], samples);
    parts.positive = at::zeros_like(output.sample);
    parts.negative = at::zeros_like(output.sample);
    for (const std::size_t i : recorded_arguments(call)) {
      const Pair addend = argument_pair(call, i, call.arguments[i].toTensor(), samples).bounded();
      const at::Tensor term = addend.difference() * addend_factor(call, i);
      parts.positive = parts.positive + term.clamp_min(0);
      parts.negative = parts.negative + term.clamp_max(0);
    }
    return parts;
  }
  const Pair input = argument_pair(call, recorded_arguments(call).at(0),
                                   call.arguments[layer_arguments(call).input].toTensor(), samples);
  const at::Tensor difference = input.difference();
  // Both signs of the input at once.
  const at::Tensor signs = input.joined(difference.clamp_min(0), difference.clamp_max(0));
  const auto parts_with = [&](bool positive) {
    return output_pair(call, call.call(with_signed_weights(call, signs, positive)).at(0), samples);
  };
  const Pair by_positive = parts_with(true), by_negative = parts_with(false);
  parts.positive = by_positive.sample + by_negative.reference;
  parts.negative = by_positive.reference + by_negative.sample;
  return parts;
}

std::vector<at::Tensor> elementwise(const BackwardCall& call, std::int64_t samples) {
  const Pair input = argument_pair(call, 0, call.arguments[0].toTensor(), samples).bounded();
  const Pair arriving = output_pair(call, call.output_gradients[0], samples);
  const BackwardCall* producer = call.producer(0);
  const bool split =
      producer != nullptr && (is_addition(producer->node.operation) ||
                              is_one_of(layer_operators(), producer->node.operation));
  Parts parts;
  if (split) {
    parts = parts_of_output(*producer, samples);
  } else {
    parts = {input.difference().clamp_min(0), input.difference().clamp_max(0)};
  }
  std::vector<c10::IValue> arguments = call.arguments;
  const auto values_at = [&](const at::Tensor& first, const at::Tensor& second) {
    arguments[0] = input.joined(first, second);
    return output_pair(call, call.call(arguments).at(0), samples).bounded();
  };
  const at::Tensor& origin = input.reference;
  const Pair alone = values_at(origin + parts.positive, origin + parts.negative);
  const Pair ends = values_at(origin, origin + (parts.positive + parts.negative));
  const at::Tensor of_positive =
      (alone.sample - ends.sample + ends.reference - alone.reference) / 2;
  const at::Tensor of_negative =
      (alone.reference - ends.sample + ends.reference - alone.sample) / 2;
  arguments[0] = input.both(origin);
  const at::Tensor slope =
      argument_pair(call, 0, pull_back(call, arguments, {0}, at::ones_like(call.outputs[0]))[0],
                    samples)
          .sample;
  const at::Tensor positive =
      arriving.sample * multiplier(of_positive, parts.positive, slope, ends.reference);
  const at::Tensor negative =
      arriving.reference * multiplier(of_negative, parts.negative, slope, ends.reference);
  std::vector<at::Tensor> result = no_gradients(call);
  result[0] = split ? input.joined(positive, negative)
                    : input.both(at::where(input.difference() > 0, positive, negative));
  return result;
}

/// By the sign of each input's difference.
at::Tensor chosen(const at::Tensor& difference, const at::Tensor& above, const at::Tensor& below) {
  return at::where(difference > 0, above, at::where(difference < 0, below, (above + below) / 2));
}

std::vector<at::Tensor> layer(const BackwardCall& call, std::int64_t samples) {
  const LayerArguments places = layer_arguments(call);
  const at::Tensor& input = call.arguments[places.input].toTensor();
  const std::vector<std::size_t> recorded = recorded_arguments(call);
  const Pair pair = argument_pair(call, recorded.at(0), input, samples);
  const at::Tensor difference = pair.difference();
  const auto back = [&](bool positive) {
    return argument_pair(call, recorded.at(0),
                         pull_back(call, with_signed_weights(call, input, positive), {places.input},
                                   call.output_gradients[0])[0],
                         samples);
  };
  const Pair by_positive = back(true), by_negative = back(false);
  std::vector<at::Tensor> result = no_gradients(call);
  result[recorded.at(0)] = pair.both(chosen(difference, by_positive.sample + by_negative.reference,
                                            by_negative.sample + by_positive.reference));
  return result;
}

std::vector<at::Tensor> addition(const BackwardCall& call, std::int64_t samples) {
  std::vector<at::Tensor> result = call.standard();
  const Pair arriving = output_pair(call, call.output_gradients[0], samples);
  for (const std::size_t i : recorded_arguments(call)) {
    const double factor = addend_factor(call, i);
    const at::Tensor& term = call.arguments[i].toTensor();
    // Where one of them is spread over the other, the multipliers of its copies add up.
    const at::Tensor spread = term.expand_as(call.outputs[0]);
    const at::Tensor difference = output_pair(call, spread, samples).difference() * factor;
    result[i] = arriving.both(chosen(difference, arriving.sample, arriving.reference) * factor)
                    .sum_to_size(term.sizes());
  }
  return result;
}

}  // namespace

void add_reveal_cancel(BackwardRules& rules, std::int64_t samples) {
  const auto with = [samples](auto rule) {
    return [rule, samples](const BackwardCall& call) { return rule(call, samples); };
  };
  for (const std::string& operation : elementwise_operators())
    rules.on(operation, with(elementwise));
  for (const std::string& operation : layer_operators()) {
    rules.on(operation, [samples](const BackwardCall& call) {
      if (recorded_arguments(call).size() != 1)
        refuse(call, "deep_lift",
               "multiplies two values that both depend on what is credited; "
               "RevealCancel has no rule for that, take rule: rescale");
      return layer(call, samples);
    });
  }
  rules.on("aten::add", with(addition)).on("aten::sub", with(addition));
}

}  // namespace attribution
