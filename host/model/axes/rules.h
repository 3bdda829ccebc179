#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "host/model/axes/dimension.h"
#include "host/model/program.h"

namespace microtome::host::axes {

/// A call of an operator, with what is known of the tensors that it gets.
struct Call {
  const Program& program;
  const Node& node;
  /// Of a tensor, by its value; nullptr for what is not one or was not tried.
  std::function<Dimensions*(ValueId)> of;

  const Dimensions* argument(std::size_t i) const;
  std::optional<std::int64_t> integer(std::size_t i) const;
  std::optional<std::vector<std::int64_t>> integers(std::size_t i) const;
  bool is_constant(std::size_t i) const { return i < node.inputs.size() && node.inputs[i] < 0; }
  /// The size of a constant tensor along its dimensions; empty for none.
  std::vector<std::int64_t> constant_sizes(std::size_t i) const;
};

/// What the operator makes of its arguments, for an output of these sizes; nothing when that is not
/// known.
std::optional<Dimensions> made_by(const Call& call, const std::vector<std::int64_t>& sizes);

/// Whether the operator makes a list of parts of a tensor, each with its dimensions.
bool makes_parts(const Node& node);
/// Whether it takes a list apart.
bool unpacks(const Node& node);

/// Names what the operator reads in the way it reads it: the channels of a convolution's input.
/// Returns whether anything became known.
bool name_read(const Call& call);

/// Hands names back from what the operator made to what it was made of, where that keeps the
/// dimensions. Returns whether anything became known.
bool name_back(const Call& call);

}  // namespace microtome::host::axes
