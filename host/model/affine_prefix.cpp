#include "host/model/affine_prefix.h"

#include <algorithm>
#include <string>
#include <unordered_map>

namespace microtome::host {
namespace {

/// In which of its first two arguments an operator is affine.
enum class Affine {
  first,   ///< in the first one
  either,  ///< in each, while the other is fixed
  both,    ///< in both together
};

const std::unordered_map<std::string, Affine>& affine_operators() {
  static const std::unordered_map<std::string, Affine> known = {
      {"microtome::normalise", Affine::first},
      {"aten::conv1d", Affine::first},
      {"aten::conv2d", Affine::first},
      {"aten::conv3d", Affine::first},
      {"aten::_convolution", Affine::first},
      {"aten::convolution", Affine::first},
      {"aten::batch_norm", Affine::first},
      {"aten::linear", Affine::first},
      {"aten::matmul", Affine::either},
      {"aten::mm", Affine::either},
      {"aten::bmm", Affine::either},
      {"aten::mul", Affine::either},
      {"aten::div", Affine::first},
      {"aten::neg", Affine::first},
      {"aten::add", Affine::both},
      {"aten::sub", Affine::both},
      {"aten::rsub", Affine::both},
      {"aten::avg_pool1d", Affine::first},
      {"aten::avg_pool2d", Affine::first},
      {"aten::avg_pool3d", Affine::first},
      {"aten::adaptive_avg_pool1d", Affine::first},
      {"aten::adaptive_avg_pool2d", Affine::first},
      {"aten::mean", Affine::first},
      {"aten::sum", Affine::first},
      {"aten::constant_pad_nd", Affine::first},
      {"aten::dropout", Affine::first},
      {"aten::view", Affine::first},
      {"aten::reshape", Affine::first},
      {"aten::flatten", Affine::first},
      {"aten::permute", Affine::first},
      {"aten::transpose", Affine::first},
      {"aten::t", Affine::first},
      {"aten::unsqueeze", Affine::first},
      {"aten::squeeze", Affine::first},
      {"aten::slice", Affine::first},
      {"aten::select", Affine::first},
      {"aten::expand", Affine::first},
      {"aten::contiguous", Affine::first},
      {"aten::clone", Affine::first},
  };
  return known;
}

bool is_false(const Program& program, ValueId value) {
  return value < 0 && program.constant(value).isBool() && !program.constant(value).toBool();
}

/// Whether the node is affine in the arguments that depend, `depends` and `affine` by value.
bool is_affine(const Program& program, const Node& node, const std::vector<char>& depends,
               const std::vector<char>& affine) {
  if (node.kind != Node::Kind::operation && node.kind != Node::Kind::identity) return false;
  std::vector<std::size_t> moving;
  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    const ValueId input = node.inputs[i];
    if (input < 0 || depends[static_cast<std::size_t>(input)] == 0) continue;
    if (affine[static_cast<std::size_t>(input)] == 0) return false;
    moving.push_back(i);
  }
  if (node.kind == Node::Kind::identity) return true;
  const auto known = affine_operators().find(node.info.operation);
  if (known == affine_operators().end()) return false;
  // What depends on the mode, or has further forms.
  if (known->first == "aten::batch_norm" &&
      (node.inputs.size() != 9 || !is_false(program, node.inputs[5])))
    return false;
  if (known->first == "aten::dropout" &&
      (node.inputs.size() != 3 || !is_false(program, node.inputs[2])))
    return false;
  if (known->first == "aten::div" && node.inputs.size() != 2) return false;
  switch (known->second) {
    case Affine::first:
      return moving == std::vector<std::size_t>{0};
    case Affine::either:
      return moving.size() == 1 && moving[0] < 2;
    case Affine::both:
      return std::all_of(moving.begin(), moving.end(), [](std::size_t i) { return i < 2; });
  }
  return false;
}

}  // namespace

std::optional<ValueId> affine_prefix(const ProgramIndex& index, ValueId from,
                                     const std::vector<char>& candidates) {
  const Program& program = index.program();
  const auto& nodes = program.body.nodes;
  const std::vector<char> depends = index.computed_from({from});
  std::vector<char> affine(depends.size(), 0);
  affine[static_cast<std::size_t>(from)] = 1;
  // When the last reader of each value has run, nobody needs it any more.
  std::vector<std::size_t> last_reader(depends.size(), 0);
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    for (const ValueId value : index.reads(i)) last_reader[static_cast<std::size_t>(value)] = i;
  }
  for (const ProgramPort& output : program.outputs) {
    if (output.value >= 0) last_reader[static_cast<std::size_t>(output.value)] = nodes.size();
  }
  std::optional<ValueId> found;
  std::vector<ValueId> live = {from};
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    const std::vector<ValueId>& reads = index.reads(i);
    if (std::none_of(reads.begin(), reads.end(),
                     [&](ValueId value) { return depends[static_cast<std::size_t>(value)] != 0; }))
      continue;
    // What comes later in the list may be affine, but something beside it is not.
    if (!is_affine(program, nodes[i], depends, affine)) break;
    for (const ValueId output : nodes[i].outputs) {
      affine[static_cast<std::size_t>(output)] = 1;
      live.push_back(output);
    }
    std::erase_if(live,
                  [&](ValueId value) { return last_reader[static_cast<std::size_t>(value)] <= i; });
    if (live.size() == 1 && candidates[static_cast<std::size_t>(live[0])] != 0) found = live[0];
  }
  return found;
}

}  // namespace microtome::host
