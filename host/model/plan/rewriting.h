#pragma once

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>

#include "host/model/plan/plan.h"

namespace microtome::host::rewriting {

/// Calls `visit` for each node, those in branches and loops included.
void for_each_node(Block& block, const std::function<void(Node&)>& visit);
/// Makes all readers of a value read another.
void rename_reads(Program& program, const std::unordered_map<ValueId, ValueId>& names);
/// A constant of the program.
ValueId add_constant(Program& program, c10::IValue value);
/// The tensor of a constant; an undefined one for anything else, None included.
at::Tensor constant_tensor(const Program& program, ValueId value);
/// y = scale x + shift, by channel, of a batch norm with constant moments.
struct ChannelAffine {
  at::Tensor scale, shift;  ///< float64
};
/// Nothing for any other node.
std::optional<ChannelAffine> constant_batch_norm(const Program& program, const Node& node);
/// Whether the node is a convolution whose weight is a constant, not a transposed one.
bool is_convolution(const Program& program, const Node& node);
void lose_sites(Program& program, const std::set<ValueId>& values);

/// Who reads each value, and how often in all; readings by operations in `unseen` do not count.
struct Readers {
  std::unordered_map<ValueId, int> count;
  std::unordered_map<ValueId, std::size_t> maker;  ///< place in the body

  Readers(Program& program, const std::set<std::string>& unseen);
  int of(ValueId value) const;
};

/// A value's way back, through other names, to the node that made it.
struct Chain {
  std::size_t maker = 0;      ///< place in the body
  std::set<ValueId> between;  ///< the value, under all its names
};
/// Nothing when anybody else reads it on the way, or it is hooked there.
std::optional<Chain> chain_to(const Program& program, const Readers& readers,
                              const std::set<ValueId>& hooked, ValueId value);

/// Whether gradients go back by what is computed from the value now.
bool is_recorded(const at::Tensor& value);

// One rewriting each; they return how often it was done.
std::int64_t fold_constants(Program& program, const std::set<ValueId>& hooked);
std::int64_t fold_batch_norms(Program& program, const std::set<ValueId>& hooked);
std::int64_t pool_before_relu(Program& program, const std::set<ValueId>& hooked);
std::int64_t pool_channels_last(Program& program);
std::int64_t scale_batch_norm_gradients(Program& program);
struct FilteredGradients {
  std::int64_t convolutions = 0;
  std::int64_t bytes = 0;  ///< of their filters
};
FilteredGradients filter_gradients(Program& program);
/// Whether it could be done.
bool put_channels_last(Program& program);
std::int64_t allow_in_place(Program& program);
void reduce_precision(Program& program, at::ScalarType precision);
/// These inputs are given single precision, and the program's operators read them reduced.
void reduce_inputs(Program& program, at::ScalarType precision, const std::set<std::size_t>& inputs);

}  // namespace microtome::host::rewriting
