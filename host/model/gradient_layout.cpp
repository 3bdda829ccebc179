#include "host/model/gradient_layout.h"

#include <string>

#include "host/model/plan/rewriting.h"

namespace microtome::host {

void lay_out_gradients(Program& program) {
  rewriting::for_each_node(program.body, [](Node& node) {
    const std::string& operation = node.info.operation;
    if (operation != "aten::gelu" && operation != "aten::gelu_") return;
    node.call = [inner = std::move(node.call)](Stack& stack) {
      inner(stack);
      const at::Tensor& result = stack.back().toTensor();
      if (!result.requires_grad()) return;
      const at::MemoryFormat format = result.suggest_memory_format();
      result.register_hook(
          [format](const at::Tensor& gradient) { return gradient.contiguous(format); });
    };
  });
}

}  // namespace microtome::host
