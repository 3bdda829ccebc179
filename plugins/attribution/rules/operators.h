#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "microtome/sdk.h"

namespace attribution {

/// What the tables of rules say about operators in common.

/// They hand values on, some of them or several times, and change none: views, slices, `cat`,
/// padding with zeros, dropout in evaluation mode.
const std::vector<std::string>& moving_operators();
/// Fixed linear maps with weights of one sign: averages, sums, interpolation.
const std::vector<std::string>& averaging_operators();
/// Functions of one value at a time, monotone or not.
const std::vector<std::string>& elementwise_operators();
const std::vector<std::string>& max_pooling_operators();
/// Convolutions and products with a matrix.
const std::vector<std::string>& layer_operators();

/// Where a layer's arguments stand among those of its operator.
struct LayerArguments {
  std::size_t input = 0, weight = 1;
  std::optional<std::size_t> bias;
};
LayerArguments layer_arguments(const microtome::BackwardCall& call);

/// Which of the tensor arguments (lists flattened) the run records derivatives by.
std::vector<std::size_t> recorded_arguments(const microtome::BackwardCall& call);

/// Places of the tensors among all arguments, in the order of `BackwardCall::recorded`; lists are
/// no places.
std::vector<std::size_t> tensor_places(const microtome::BackwardCall& call);

/// By what `aten::add` or `aten::sub` multiplies its addend `i` (0 or 1): `alpha` and the sign.
double addend_factor(const microtome::BackwardCall& call, std::size_t i);

/// As many undefined gradients as the call has tensor arguments.
std::vector<at::Tensor> no_gradients(const microtome::BackwardCall& call);

/// Derivative of the sum of `cotangent` times what the operator returns for `arguments`, by the
/// tensors among them at these places.
std::vector<at::Tensor> pull_back(const microtome::BackwardCall& call,
                                  std::vector<c10::IValue> arguments,
                                  const std::vector<std::size_t>& places,
                                  const at::Tensor& cotangent);

/// The error for a product of two values that both depend on what is credited, and the like.
[[noreturn]] void refuse(const microtome::BackwardCall& call, const std::string& method,
                         const std::string& reason);

}  // namespace attribution
