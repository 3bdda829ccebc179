#include <map>

#include "host/model/plan/rewriting.h"

namespace microtome::host::rewriting {
namespace {

/// Runs `write` on the first of `arguments` and leaves it as the result.
template <class Write>
Operation writing(std::size_t arguments, Write write) {
  return [arguments, write](Stack& stack) {
    const std::size_t first = stack.size() - arguments;
    at::Tensor self = stack[first].toTensor();
    write(self, stack, first);
    stack.resize(first);
    stack.emplace_back(std::move(self));
  };
}

template <class Write>
Operation writing_alone(Write write) {
  return writing(1, [write](at::Tensor& self, Stack&, std::size_t) { write(self); });
}

Operation in_place_form(const Node& node) {
  const std::string& name = node.info.operation;
  const std::size_t count = node.inputs.size();
  if (count == 1) {
    if (name == "aten::relu") return writing_alone([](at::Tensor& x) { at::relu_(x); });
    if (name == "aten::relu6") return writing_alone([](at::Tensor& x) { at::relu6_(x); });
    if (name == "aten::silu") return writing_alone([](at::Tensor& x) { at::silu_(x); });
    if (name == "aten::hardswish") return writing_alone([](at::Tensor& x) { at::hardswish_(x); });
  }
  if (name == "aten::hardtanh" && count == 3) {
    return writing(3, [](at::Tensor& x, Stack& stack, std::size_t first) {
      at::hardtanh_(x, stack[first + 1].toScalar(), stack[first + 2].toScalar());
    });
  }
  if (name == "aten::add" && count == 3) {
    const Operation otherwise = node.call;
    return [otherwise](Stack& stack) {
      const std::size_t first = stack.size() - 3;
      const c10::IValue& other = stack[first + 1];
      const at::Tensor self = stack[first].toTensor();
      const bool fits = other.isTensor() && other.toTensor().sizes() == self.sizes() &&
                        other.toTensor().scalar_type() == self.scalar_type() &&
                        stack[first + 2].isScalar();
      if (!fits) return otherwise(stack);
      self.add_(other.toTensor(), stack[first + 2].toScalar());
      stack.resize(first);
      stack.emplace_back(self);
    };
  }
  return {};
}

}  // namespace

std::int64_t allow_in_place(Program& program) {
  std::int64_t allowed = 0;
  for (Node& node : program.body.nodes) {
    if (node.kind != Node::Kind::operation) continue;
    node.call_in_place = in_place_form(node);
    allowed += node.call_in_place ? 1 : 0;
  }
  return allowed;
}

}  // namespace microtome::host::rewriting
