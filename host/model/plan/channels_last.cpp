#include "host/model/plan/rewriting.h"

namespace microtome::host::rewriting {
namespace {

/// Operators whose meaning depends on how a tensor lies in memory.
bool depends_on_memory(const std::string& operation) {
  static const std::set<std::string> names = {"aten::stride", "aten::is_contiguous",
                                              "aten::as_strided", "aten::storage_offset",
                                              "aten::set_"};
  return names.contains(operation);
}

/// Operators that take a tensor's memory for that of another shape.
bool needs_rows(const std::string& operation) {
  static const std::set<std::string> names = {
      "aten::view",      "aten::view_as",         "aten::_unsafe_view",
      "aten::unflatten", "aten::view_as_complex", "aten::view_as_real"};
  return names.contains(operation);
}

/// What would have lain in rows is put in rows.
Operation in_rows(Operation call, std::size_t arguments) {
  return [inner = std::move(call), arguments](Stack& stack) {
    c10::IValue& self = stack[stack.size() - arguments];
    if (self.isTensor()) {
      const at::Tensor value = self.toTensor();
      if (!value.is_contiguous() && value.is_contiguous(value.suggest_memory_format()))
        self = value.contiguous();
    }
    inner(stack);
  };
}

}  // namespace

bool put_channels_last(Program& program) {
  bool possible = true, any = false;
  for_each_node(program.body, [&](Node& node) {
    possible = possible && !depends_on_memory(node.info.operation);
    any = any ||
          (is_convolution(program, node) && constant_tensor(program, node.inputs[1]).dim() == 4);
  });
  if (!possible || !any) return false;
  std::unordered_map<ValueId, ValueId> turned;
  for_each_node(program.body, [&](Node& node) {
    if (needs_rows(node.info.operation)) {
      node.call = in_rows(std::move(node.call), node.inputs.size());
    } else if (is_convolution(program, node)) {
      const at::Tensor weight = constant_tensor(program, node.inputs[1]);
      if (weight.dim() != 4) return;
      ValueId& last = turned[node.inputs[1]];
      if (last == 0)
        last = add_constant(program, weight.contiguous(at::MemoryFormat::ChannelsLast));
      node.inputs[1] = last;
    }
  });
  program.channels_last = true;
  return true;
}

}  // namespace microtome::host::rewriting
