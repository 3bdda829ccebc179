// What is known while a model is loaded.
#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/runtime/operator.h>

#include <set>

#include "host/model/torchscript/lowering.h"

namespace microtome::host::torchscript {

namespace aten = c10::aten;
namespace prim = c10::prim;

namespace {

/// Questions about a tensor that its shape answers.
const std::set<std::string>& questions_of_shape() {
  static const std::set<std::string> names = {"aten::dim", "aten::size", "aten::len", "aten::numel",
                                              "prim::shape"};
  return names;
}

}  // namespace

Operation operation_of(const torch::jit::Node& node) {
  const bool counted = node.maybeSchema() != nullptr && node.schema().is_vararg();
  auto operation = node.getOperation();
  return [operation, counted,
          count = static_cast<std::int64_t>(node.inputs().size())](Stack& stack) mutable {
    if (counted) stack.emplace_back(count);
    operation(stack);
  };
}

bool Lowering::lower_without_effect(torch::jit::Node& node, const Scope& scope) {
  const auto kind = node.kind();
  if (kind == prim::Constant) {
    const torch::jit::Value* output = node.output();
    if (const auto function = output->type()->cast<c10::FunctionType>()) {
      bind(output, FunctionSlot{function->function()}, scope);
      return true;
    }
    const auto value = torch::jit::toIValue(output);
    if (!value) refuse(node, "its constant can't be read");
    bind(output, slot_of(*value, output->type()), scope);
    return true;
  }
  if (kind == prim::Uninitialized) {
    bind(node.output(), Slot(), scope);
    return true;
  }
  if (kind == prim::unchecked_cast || kind == prim::unchecked_unwrap_optional ||
      kind == aten::_unwrap_optional) {
    Slot given = slot(node.input(0), scope);
    if (kind == aten::_unwrap_optional && is_known_none(given))
      refuse(node, "it takes a value that is None for one that is there");
    if (auto* tensor = std::get_if<TensorSlot>(&given)) {
      tensor->may_be_none =
          tensor->may_be_none && !node.output()->type()->isSubtypeOf(*c10::TensorType::get());
    } else if (const auto* value = std::get_if<Computed>(&given)) {
      given = computed(value->id, node.output()->type(), false);
    }
    bind(node.output(), std::move(given), scope);
    return true;
  }
  return compare_with_none(node, scope) || check_type(node, scope);
}

bool Lowering::compare_with_none(torch::jit::Node& node, const Scope& scope) {
  const auto kind = node.kind();
  if (kind != aten::__is__ && kind != aten::__isnot__) return false;
  const Slot& left = slot(node.input(0), scope);
  const Slot& right = slot(node.input(1), scope);
  const auto is_decided = [](const Slot& slot) {
    const auto* tensor = std::get_if<TensorSlot>(&slot);
    return !std::holds_alternative<Computed>(slot) && (tensor == nullptr || !tensor->may_be_none);
  };
  if (!(is_known_none(left) || is_known_none(right)) || !is_decided(left) || !is_decided(right))
    return false;
  const bool same = is_known_none(left) && is_known_none(right);
  bind(node.output(), Known{c10::IValue(same == (kind == aten::__is__))}, scope);
  return true;
}

bool Lowering::check_type(torch::jit::Node& node, const Scope& scope) {
  if (node.kind() != prim::isinstance) return false;
  const Slot& given = slot(node.input(0), scope);
  c10::TypePtr type;
  if (const auto* tensor = std::get_if<TensorSlot>(&given)) {
    if (tensor->may_be_none) return false;
    type = c10::TensorType::get();
  } else if (const auto* structure = std::get_if<std::shared_ptr<Structure>>(&given)) {
    type = (*structure)->type;
  } else if (std::holds_alternative<ViewListSlot>(given)) {
    type = c10::ListType::ofTensors();
  } else if (const auto* known = std::get_if<Known>(&given)) {
    type = known->value.type();
  } else {
    return false;
  }
  bool is_instance = false;
  for (const c10::TypePtr& candidate : node.tys(c10::attr::types))
    is_instance = is_instance || type->isSubtypeOf(*candidate);
  bind(node.output(), Known{is_instance}, scope);
  return true;
}

bool Lowering::fold(torch::jit::Node& node, const Scope& scope) {
  for (const torch::jit::Value* output : node.outputs()) {
    if (is_tensor_type(output->type())) return false;
  }
  if (node.outputs().empty() || node.hasSideEffects() || node.isNondeterministic()) return false;
  if (node.maybeSchema() != nullptr && node.schema().is_mutable()) return false;
  if (node.maybeOperator() == nullptr || !node.blocks().empty()) return false;
  Stack stack;
  for (const torch::jit::Value* input : node.inputs()) {
    const Slot& given = slot(input, scope);
    if (const auto known = known_value(given)) {
      stack.push_back(*known);
      continue;
    }
    // The shape of a parameter is known; its values are not, as copies may have others.
    const auto* tensor = std::get_if<TensorSlot>(&given);
    if (tensor == nullptr || !questions_of_shape().contains(node.kind().toQualString()))
      return false;
    const ValueId value = aliases_.read(tensor->tensor, emitter());
    if (value >= 0) return false;
    stack.push_back(program_.constant(value));
  }
  operation_of(node)(stack);
  for (std::size_t i = 0; i < node.outputs().size(); ++i)
    bind(node.output(i), slot_of(stack.at(i), node.output(i)->type()), scope);
  return true;
}

Computed Lowering::fold_choices(torch::jit::Node& node, const Scope& scope) const {
  // All that is known of a text with unknown parts is how long it is at least.
  static const std::set<std::string> comparisons = {"aten::gt", "aten::eq", "aten::ne", "aten::lt"};
  const std::string name = node.kind().toQualString();
  if (node.kind() == aten::format) {
    const auto text = known_value(scope.environment->at(node.input(0)));
    if (!text || !text->isString()) return {};
    std::string fixed = text->toStringRef();
    for (auto gap = fixed.find("{}"); gap != std::string::npos; gap = fixed.find("{}"))
      fixed.erase(gap, 2);
    return {0, {c10::IValue(fixed)}, true};
  }
  if (node.outputs().size() != 1 || is_tensor_type(node.output()->type()) ||
      node.hasSideEffects() || node.isNondeterministic() || !node.blocks().empty() ||
      node.maybeOperator() == nullptr || node.maybeSchema() == nullptr ||
      node.schema().is_mutable())
    return {};
  const Computed* chosen = nullptr;
  std::size_t place = 0;
  Stack stack;
  for (std::size_t i = 0; i < node.inputs().size(); ++i) {
    const Slot& given = scope.environment->at(node.input(i));
    const auto* computed = std::get_if<Computed>(&given);
    const auto known = known_value(given);
    const bool is_choice = computed != nullptr && !computed->choices.empty();
    if (!known && (!is_choice || chosen != nullptr)) return {};
    if (is_choice) {
      chosen = computed;
      place = i;
    }
    stack.push_back(known ? *known : c10::IValue());
  }
  if (chosen == nullptr) return {};
  if (chosen->at_least && node.kind() != aten::len) {
    const bool with_zero =
        comparisons.contains(name) && place == 0 && stack[1].isInt() && stack[1].toInt() == 0;
    if (!with_zero) return {};
    // A bound of nothing says nothing.
    for (const c10::IValue& choice : chosen->choices) {
      if (!choice.isInt() || choice.toInt() <= 0) return {};
    }
  }
  Computed result;
  result.at_least = chosen->at_least && node.kind() == aten::len;
  for (const c10::IValue& choice : chosen->choices) {
    Stack arguments = stack;
    arguments[place] = choice;
    operation_of(node)(arguments);
    result.choices.push_back(arguments.at(0));
    if (known_plain(Known{arguments.at(0)}) == nullptr) return {};
  }
  return result;
}

}  // namespace microtome::host::torchscript
