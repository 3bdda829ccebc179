#include "host/model/plan/rewriting.h"

namespace microtome::host::rewriting {

std::int64_t fold_constants(Program& program, const std::set<ValueId>& hooked) {
  std::unordered_map<ValueId, ValueId> names;
  std::set<ValueId> outputs, gone;
  for (const ProgramPort& output : program.outputs) outputs.insert(output.value);
  std::vector<Node> left;
  std::int64_t folded = 0;
  const auto named = [&](ValueId value) {
    const auto found = names.find(value);
    return found == names.end() ? value : found->second;
  };
  for (Node& node : program.body.nodes) {
    bool constant = node.kind == Node::Kind::operation || node.kind == Node::Kind::identity;
    for (const ValueId input : node.inputs) constant = constant && named(input) < 0;
    for (const ValueId output : node.outputs)
      constant = constant && !hooked.contains(output) && !outputs.contains(output);
    if (!constant) {
      left.push_back(std::move(node));
      continue;
    }
    Stack stack;
    for (const ValueId input : node.inputs) stack.push_back(program.constant(named(input)));
    if (node.kind == Node::Kind::operation) {
      node.call(stack);
      ++folded;
    }
    for (std::size_t i = 0; i < node.outputs.size(); ++i) {
      names[node.outputs[i]] = add_constant(program, stack.at(i));
      gone.insert(node.outputs[i]);
    }
  }
  program.body.nodes = std::move(left);
  rename_reads(program, names);
  lose_sites(program, gone);
  return folded;
}

}  // namespace microtome::host::rewriting
