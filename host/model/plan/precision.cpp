#include "host/model/plan/rewriting.h"

namespace microtome::host::rewriting {
namespace {

at::Tensor reduced(const at::Tensor& value, at::ScalarType precision) {
  return value.defined() && value.scalar_type() == at::kFloat ? value.to(precision) : value;
}

}  // namespace

void reduce_precision(Program& program, at::ScalarType precision) {
  for (c10::IValue& constant : program.constants) {
    if (constant.isTensor()) constant = reduced(constant.toTensor(), precision);
  }
  std::set<std::size_t> all;
  for (std::size_t i = 0; i < program.inputs.size(); ++i) all.insert(i);
  reduce_inputs(program, precision, all);
  program.reduced_precision = precision;
}

void reduce_inputs(Program& program, at::ScalarType precision,
                   const std::set<std::size_t>& inputs) {
  std::vector<Node> casts;
  std::unordered_map<ValueId, ValueId> names;
  for (const std::size_t i : inputs) {
    const ProgramPort& input = program.inputs[i];
    Node cast;
    cast.info.operation = "microtome::reduce_precision";
    cast.inputs = {input.value};
    cast.outputs = {program.value_count++};
    cast.info.inputs.assign(cast.inputs.begin(), cast.inputs.end());
    cast.info.outputs.assign(cast.outputs.begin(), cast.outputs.end());
    cast.call = [precision](Stack& stack) {
      if (stack.back().isTensor()) stack.back() = reduced(stack.back().toTensor(), precision);
    };
    names[input.value] = cast.outputs[0];
    casts.push_back(std::move(cast));
  }
  rename_reads(program, names);
  program.body.nodes.insert(program.body.nodes.begin(), casts.begin(), casts.end());
}

}  // namespace microtome::host::rewriting
