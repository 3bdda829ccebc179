#pragma once

#include <functional>
#include <set>
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
/// Whether the node is a convolution whose weight is a constant, not a transposed one.
bool is_convolution(const Program& program, const Node& node);
void lose_sites(Program& program, const std::set<ValueId>& values);

// One rewriting each; they return how often it was done.
std::int64_t fold_constants(Program& program, const std::set<ValueId>& hooked);
std::int64_t fold_batch_norms(Program& program, const std::set<ValueId>& hooked);
/// Whether it could be done.
bool put_channels_last(Program& program);
std::int64_t allow_in_place(Program& program);
void reduce_precision(Program& program, at::ScalarType precision);

}  // namespace microtome::host::rewriting
