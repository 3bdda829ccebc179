#include "host/model/equal_rows.h"

#include <algorithm>
#include <limits>
#include <string>
#include <unordered_map>

namespace microtome::host {
namespace {

/// What must hold of a call for its first dimension to be one of rows.
enum class Condition {
  elementwise,    ///< number by number, with the dimensions of the longest shape
  first,          ///< all arguments but the first are constants, and rows have a dimension at least
  as_weight,      ///< the same, and the first has the dimensions of the second
  four,           ///< the same, and the first has four dimensions: what is pooled by two
  after_first,    ///< the same, and the dimension that it begins at, the second argument, is later
  all_or_after,   ///< the same, or all of the first dimension is taken
  pads_others,    ///< the same, and the second argument's pairs leave the first dimension out
  norms_others,   ///< the same, and so does the shape that is normalised
  fixed_moments,  ///< the same, and it is a batch norm in evaluation mode
};

const std::unordered_map<std::string, Condition>& row_wise_operators() {
  using enum Condition;
  static const std::unordered_map<std::string, Condition> known = {
      {"aten::conv1d", as_weight},
      {"aten::conv2d", as_weight},
      {"aten::conv3d", as_weight},
      {"aten::_convolution", as_weight},
      {"aten::convolution", as_weight},
      {"aten::batch_norm", fixed_moments},
      {"aten::linear", first},
      {"aten::relu", elementwise},
      {"aten::relu6", elementwise},
      {"aten::hardtanh", elementwise},
      {"aten::hardswish", elementwise},
      {"aten::hardsigmoid", elementwise},
      {"aten::leaky_relu", elementwise},
      {"aten::elu", elementwise},
      {"aten::selu", elementwise},
      {"aten::silu", elementwise},
      {"aten::gelu", elementwise},
      {"aten::softplus", elementwise},
      {"aten::sigmoid", elementwise},
      {"aten::tanh", elementwise},
      {"aten::neg", elementwise},
      {"aten::add", elementwise},
      {"aten::sub", elementwise},
      {"aten::mul", elementwise},
      {"aten::div", elementwise},
      {"aten::max_pool2d", four},
      {"aten::avg_pool2d", four},
      {"aten::adaptive_avg_pool2d", four},
      {"aten::flatten", after_first},
      {"aten::softmax", after_first},
      {"aten::log_softmax", after_first},
      {"aten::select", after_first},
      {"aten::unsqueeze", after_first},
      {"aten::slice", all_or_after},
      {"aten::pad", pads_others},
      {"aten::constant_pad_nd", pads_others},
      {"aten::layer_norm", norms_others},
      {"aten::group_norm", first},
  };
  return known;
}

std::int64_t dimensions_of(const c10::IValue& value) {
  return value.isTensor() && value.toTensor().defined() ? value.toTensor().dim() : 0;
}

std::int64_t list_size(const c10::IValue& list) {
  return static_cast<std::int64_t>(list.toIntVector().size());
}

/// Of `slice(x, dimension, start, end, step)`, for any size.
bool takes_all(const Stack& arguments) {
  if (arguments.size() != 5 || arguments[1].toInt() != 0) return false;
  const bool from_start = arguments[2].isNone() || arguments[2].toInt() == 0;
  const bool to_end =
      arguments[3].isNone() || arguments[3].toInt() == std::numeric_limits<std::int64_t>::max();
  return from_start && to_end && arguments[4].toInt() == 1;
}

/// Whether what is no constant has as many dimensions as the longest shape, so that its first is
/// the first of the result.
bool lines_up(const Node& node, const Stack& arguments) {
  std::int64_t most = 0;
  for (const c10::IValue& argument : arguments) most = std::max(most, dimensions_of(argument));
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    if (node.inputs[i] >= 0 && dimensions_of(arguments[i]) != most) return false;
  }
  return true;
}

bool is_elementwise(const Node& node) {
  const auto known = row_wise_operators().find(node.info.operation);
  return known != row_wise_operators().end() && known->second == Condition::elementwise;
}

/// All rows, in the memory of the one.
at::Tensor expanded(const at::Tensor& row, std::int64_t rows) {
  std::vector<std::int64_t> size = row.sizes().vec();
  size.at(0) = rows;
  return row.expand(size);
}

}  // namespace

bool is_row_wise(const Node& node, const Stack& arguments) {
  const auto known = row_wise_operators().find(node.info.operation);
  if (known == row_wise_operators().end() || node.outputs.size() != 1) return false;
  const Condition condition = known->second;
  if (condition == Condition::elementwise) return lines_up(node, arguments);
  const std::int64_t dimensions = dimensions_of(arguments[0]);
  if (dimensions < 2 || std::any_of(node.inputs.begin() + 1, node.inputs.end(),
                                    [](ValueId value) { return value >= 0; }))
    return false;
  switch (condition) {
    case Condition::elementwise:
    case Condition::first:
      return true;
    case Condition::as_weight:
      return dimensions_of(arguments[1]) == dimensions;
    case Condition::four:
      return dimensions == 4;
    case Condition::after_first:
      return arguments[1].toInt() >= 1;
    case Condition::all_or_after:
      return arguments[1].toInt() >= 1 || takes_all(arguments);
    case Condition::pads_others:
      return list_size(arguments[1]) <= 2 * (dimensions - 1);
    case Condition::norms_others:
      return list_size(arguments[1]) < dimensions;
    case Condition::fixed_moments:
      return arguments.size() == 9 && !arguments[5].toBool();
  }
  return false;
}

at::Tensor EqualRows::all(const at::Tensor& row) const {
  return expanded(row, rows_).contiguous(row.suggest_memory_format());
}

void EqualRows::spread(std::vector<c10::IValue>& values) {
  for (std::size_t i = 0; i < held_.size(); ++i) {
    if (held_[i] != 0 && values[i].isTensor()) values[i] = all(values[i].toTensor());
  }
  held_.clear();
}

bool EqualRows::settle(const Node& node, const ValueId* ids, Stack& stack) const {
  bool any = false, alone = true;
  for (std::size_t i = 0; i < stack.size(); ++i) {
    any = any || has(ids[i]);
    alone = alone && (ids[i] < 0 || has(ids[i]));
  }
  if (!any) return false;
  if (alone && is_row_wise(node, stack)) return true;
  // Number by number it does not matter how they lie in memory.
  const bool may_share = is_elementwise(node);
  for (std::size_t i = 0; i < stack.size(); ++i) {
    if (!has(ids[i])) continue;
    const at::Tensor row = stack[i].toTensor();
    stack[i] = may_share ? expanded(row, rows_) : all(row);
  }
  return false;
}

}  // namespace microtome::host
