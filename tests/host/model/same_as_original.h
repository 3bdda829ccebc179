#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <string>
#include <vector>

#include "tests/host/model/scripted.h"

namespace microtome::testing {

/// The tensors in a value, in order.
inline std::vector<at::Tensor> flat(const c10::IValue& value) {
  if (value.isTensor()) return {value.toTensor()};
  std::vector<at::Tensor> all;
  const auto add = [&](const c10::IValue& part) {
    for (const at::Tensor& tensor : flat(part)) all.push_back(tensor);
  };
  if (value.isTuple()) {
    for (const auto& part : value.toTupleRef().elements()) add(part);
  }
  if (value.isList()) {
    for (const c10::IValue& part : value.toListRef()) add(part);
  }
  if (value.isGenericDict()) {
    for (const auto& entry : value.toGenericDict()) add(entry.value());
  }
  return all;
}

/// Outputs and gradients equal those of the module's own interpreter, and hooking everything
/// changes nothing.
inline void expect_same(const torch::jit::Module& module, const std::vector<at::Tensor>& inputs) {
  const auto model = model_of(module);
  std::vector<at::Tensor> leaves;
  std::vector<c10::IValue> arguments;
  for (const at::Tensor& input : inputs) {
    leaves.push_back(input.clone());
    if (input.is_floating_point()) leaves.back().requires_grad_();
    // The original may write into its input; a leaf must not be written.
    arguments.emplace_back(input.is_floating_point() ? leaves.back() * 1 : leaves.back());
  }
  torch::jit::Module original = module.clone();
  const auto expected = flat(original.forward(arguments));

  std::vector<at::Tensor> copies;
  copies.reserve(inputs.size());
  for (const at::Tensor& input : inputs) copies.push_back(input.clone());
  Pass pass;
  for (const PortInfo& port : model.inputs()) {
    const auto index = static_cast<std::size_t>(&port - model.inputs().data());
    if (inputs[index].is_floating_point())
      pass.differentiate.push_back(parse_hook_point("input." + port.name));
  }
  const auto recording = model.run(named_inputs(model, copies), pass);
  ASSERT_EQ(recording.outputs.size(), expected.size());
  at::Tensor expected_sum = at::zeros({}), sum = at::zeros({});
  std::size_t i = 0;
  for (const auto& [name, value] : recording.outputs) {
    // Handed out with samples first, wherever the module returns them.
    const HookPointInfo info = model.resolve(
        parse_hook_point(recording.outputs.size() == 1 ? "output" : "output." + name));
    const at::Tensor original_output =
        info.samples == OfSamples::each
            ? info.place.samples_first(expected[i], inputs[0].size(0)).reshape(value.sizes())
            : expected[i].expand_as(value);
    EXPECT_TRUE(at::allclose(value, original_output, 1e-5, 1e-6)) << name << value << expected[i];
    const at::Tensor weight = at::rand(value.sizes());
    if (value.is_floating_point()) sum = sum + (value * weight).sum();
    if (value.is_floating_point()) expected_sum = expected_sum + (original_output * weight).sum();
    ++i;
  }
  std::vector<at::Tensor> wanted;
  for (const at::Tensor& leaf : leaves) {
    if (leaf.requires_grad()) wanted.push_back(leaf);
  }
  if (!wanted.empty() && expected_sum.requires_grad()) {
    const auto expected_gradients =
        torch::autograd::grad({expected_sum}, wanted, {}, {}, false, true);
    const auto gradients = recording.gradients(sum);
    for (std::size_t k = 0; k < wanted.size(); ++k) {
      if (!expected_gradients[k].defined()) continue;
      EXPECT_TRUE(at::allclose(gradients[k], expected_gradients[k], 1e-5, 1e-6));
    }
  }
  for (std::size_t k = 0; k < inputs.size(); ++k)
    EXPECT_TRUE(copies[k].equal(inputs[k])) << "input was written";

  Pass everything, plain;
  for (const auto& hook : model.hook_points()) {
    if (hook.name.find('@') == std::string::npos && hook.refusal.empty())
      everything.capture.push_back(parse_hook_point(hook.name));
  }
  const auto unhooked = model.run(named_inputs(model, inputs), plain);
  try {
    const auto hooked = model.run(named_inputs(model, inputs), everything);
    for (const auto& [name, value] : unhooked.outputs)
      EXPECT_TRUE(value.equal(hooked.outputs.at(name)));
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("did not come by"));
  }
}

/// What is said when the module is refused, or "accepted".
inline std::string refusal(const torch::jit::Module& module) {
  try {
    model_of(module);
  } catch (const Error& error) {
    return error.full();
  }
  return "accepted";
}

}  // namespace microtome::testing
