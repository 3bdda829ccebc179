#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/runtime/operator.h>
#include <torch/version.h>

#include <set>

#include "host/model/torchscript/lowering.h"

namespace microtome::host::torchscript {

namespace aten = c10::aten;
namespace prim = c10::prim;

namespace {

/// Operators whose result certainly is a view, each element of it once. Others that may return a
/// view
/// (`reshape`, `contiguous`, `to`, `expand`) are treated as possible aliases.
const std::set<std::string>& certain_views() {
  static const std::set<std::string> names = {
      "aten::view",      "aten::alias",    "aten::select",    "aten::slice",     "aten::narrow",
      "aten::transpose", "aten::t",        "aten::permute",   "aten::unsqueeze", "aten::squeeze",
      "aten::diagonal",  "aten::detach",   "aten::movedim",   "aten::swapaxes",  "aten::swapdims",
      "aten::view_as",   "aten::moveaxis", "aten::unflatten", "aten::numpy_T"};
  return names;
}

/// In-place operators that change a tensor's shape or storage rather than its content.
const std::set<std::string>& changes_of_shape() {
  static const std::set<std::string> names = {
      "aten::squeeze_", "aten::unsqueeze_",  "aten::t_",         "aten::transpose_",
      "aten::resize_",  "aten::set_",        "aten::swapdims_",  "aten::swapaxes_",
      "aten::detach_",  "aten::as_strided_", "aten::resize_as_", "aten::requires_grad_"};
  return names;
}

std::string short_name(const std::string& operation) {
  std::string name = operation.substr(operation.find("::") + 2);
  return name;
}

/// Drops a call's arguments and leaves a result.
void finish(Stack& stack, std::size_t count, at::Tensor result) {
  stack.resize(stack.size() - count);
  stack.emplace_back(std::move(result));
}

/// The out-of-place form of an in-place operator on tensors, without care for the result's type.
std::pair<std::string, Operation> functional_form(const torch::jit::Node& node) {
  const c10::FunctionSchema& schema = node.schema();
  const std::size_t count = schema.arguments().size();
  const std::string& name = schema.name();
  if (name == "aten::copy_") {
    return {"aten::copy", [count](Stack& stack) {
              const at::Tensor self = stack[stack.size() - count].toTensor();
              const at::Tensor source = stack[stack.size() - count + 1].toTensor();
              finish(stack, count, source.to(self.options()).expand_as(self).contiguous());
            }};
  }
  if (name == "aten::zero_") {
    return {"aten::zeros_like",
            [](Stack& stack) { finish(stack, 1, at::zeros_like(stack.back().toTensor())); }};
  }
  if (name == "aten::fill_") {
    return {"aten::fill", [](Stack& stack) {
              const at::Tensor self = stack[stack.size() - 2].toTensor();
              const c10::IValue value = stack.back();
              finish(stack, 2,
                     value.isTensor()
                         ? value.toTensor().to(self.options()).expand_as(self).contiguous()
                         : at::full_like(self, value.toScalar()));
            }};
  }
  const std::string functional = name.substr(0, name.size() - 1);
  const auto handle = c10::Dispatcher::singleton().findSchema({functional, schema.overload_name()});
  if (!handle || handle->schema().is_mutable() ||
      handle->schema().arguments().size() != schema.arguments().size()) {
    throw Error(name + " has no out-of-place form, so it can't be kept");
  }
  return {functional, [handle = *handle](Stack& stack) { handle.callBoxed(&stack); }};
}

}  // namespace

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
    if (value->isTensor() && value->toTensor().defined()) {
      bind(output, TensorSlot{tensor_constant(value->toTensor(), "a constant of the code")}, scope);
    } else {
      bind(output, Known{*value}, scope);
    }
    return true;
  }
  if (kind == prim::Uninitialized) {
    bind(node.output(), Known{c10::IValue()}, scope);
    return true;
  }
  if (kind == prim::unchecked_cast || kind == prim::unchecked_unwrap_optional ||
      kind == aten::_unwrap_optional) {
    bind(node.output(), slot(node.input(0), scope), scope);
    return true;
  }
  // Messages of the model's code.
  if (kind == aten::warn || kind == prim::Print) return true;
  if (kind == aten::format) {
    std::string text;
    for (const torch::jit::Value* input : node.inputs()) {
      const auto* known = std::get_if<Known>(&slot(input, scope));
      if (known != nullptr && known->value.isString())
        text += (text.empty() ? "" : " ") + known->value.toStringRef();
    }
    bind(node.output(), Known{c10::IValue(text)}, scope);
    return true;
  }
  if (kind == aten::__is__ || kind == aten::__isnot__) {
    const Slot& left = slot(node.input(0), scope);
    const Slot& right = slot(node.input(1), scope);
    const auto is_none = [](const Slot& slot) {
      const auto* known = std::get_if<Known>(&slot);
      return known != nullptr && known->value.isNone();
    };
    const auto is_computed = [](const Slot& slot) {
      return std::holds_alternative<Computed>(slot);
    };
    if ((is_none(left) || is_none(right)) && !is_computed(left) && !is_computed(right)) {
      const bool same = is_none(left) && is_none(right);
      bind(node.output(), Known{c10::IValue(same == (kind == aten::__is__))}, scope);
      return true;
    }
  }
  // Dropout in evaluation is its argument itself.
  const std::string name = kind.toQualString();
  if (name == "aten::dropout" || name == "aten::feature_dropout" || name == "aten::alpha_dropout" ||
      name == "aten::dropout_" || name == "aten::feature_alpha_dropout") {
    const auto* train = std::get_if<Known>(&slot(node.input(2), scope));
    if (train == nullptr || train->value.toBool()) {
      refuse(node,
             "it draws random numbers: dropout is on although the model is in evaluation mode");
    }
    Slot passed = slot(node.input(0), scope);
    bind(node.output(), passed, scope);
    return true;
  }
  return false;
}

bool Lowering::fold(torch::jit::Node& node, const Scope& scope) {
  for (const torch::jit::Value* output : node.outputs()) {
    if (output->type()->isSubtypeOf(*c10::TensorType::get())) return false;
  }
  if (node.outputs().empty() || node.hasSideEffects() || node.isNondeterministic()) return false;
  if (node.maybeSchema() != nullptr && node.schema().is_mutable()) return false;
  Stack stack;
  for (const torch::jit::Value* input : node.inputs()) {
    const auto* known = std::get_if<Known>(&slot(input, scope));
    if (known == nullptr) return false;
    stack.push_back(known->value);
  }
  if (node.maybeOperator() == nullptr) return false;
  node.getOperation()(stack);
  for (std::size_t i = 0; i < node.outputs().size(); ++i)
    bind(node.output(i), Known{stack.at(i)}, scope);
  return true;
}

void Lowering::lower_operator(torch::jit::Node& node, const Scope& scope) {
  if (node.maybeOperator() == nullptr) {
    refuse(node, "the operator is not known to this LibTorch (" + std::string(TORCH_VERSION) + ")");
  }
  if (node.maybeSchema() != nullptr && node.schema().is_mutable())
    return lower_mutation(node, scope);
  if (node.hasSideEffects()) refuse(node, "it acts on something outside of the model");
  if (node.isNondeterministic()) {
    refuse(node, "it draws random numbers, so a run could not be repeated");
  }
  if (!node.blocks().empty()) refuse(node, "it has blocks of its own");
  std::vector<ValueId> arguments;
  for (const torch::jit::Value* input : node.inputs()) {
    arguments.push_back(materialise(slot(input, scope)));
  }
  auto operation = node.getOperation();
  const Operation call = [operation](Stack& stack) mutable { operation(stack); };
  const std::string name = node.kind().toQualString();
  const auto results = emit(name, call, arguments, node.outputs().size());
  bind_results(node, scope, arguments, call, results);
}

void Lowering::bind_results(torch::jit::Node& node, const Scope& scope,
                            const std::vector<ValueId>& arguments, const Operation& call,
                            const std::vector<ValueId>& results) {
  const c10::FunctionSchema* schema = node.maybeSchema();
  const std::string name = node.kind().toQualString();
  const std::size_t made_at = block_->nodes.size() - 1;
  bool is_site = false;
  for (std::size_t i = 0; i < results.size(); ++i) {
    const torch::jit::Value* output = node.output(i);
    const bool tensor = output->type()->isSubtypeOf(*c10::TensorType::get());
    const c10::AliasInfo* alias = schema != nullptr && i < schema->returns().size()
                                      ? schema->returns()[i].alias_info()
                                      : nullptr;
    // `Tensor(a)[]`: the elements are views.
    if (alias != nullptr && alias->beforeSets().empty() && !alias->containedTypes().empty()) {
      alias = &alias->containedTypes()[0];
    }
    std::size_t self = node.inputs().size();
    if (alias != nullptr && !alias->beforeSets().empty()) {
      for (std::size_t k = 0; k < schema->arguments().size() && k < node.inputs().size(); ++k) {
        const c10::AliasInfo* argument = schema->arguments()[k].alias_info();
        if (argument != nullptr && argument->beforeSets() == alias->beforeSets()) {
          self = k;
          break;
        }
      }
    }
    const auto* base = self < node.inputs().size()
                           ? std::get_if<TensorSlot>(&slot(node.input(self), scope))
                           : nullptr;
    Slot result;
    if (!tensor) {
      const bool list_of_views =
          base != nullptr && output->type()->isSubtypeOf(*c10::ListType::ofTensors());
      if (list_of_views) {
        result = ViewListSlot{base->tensor, {name, call, arguments, self, -1}, results[i]};
      } else {
        result = computed(results[i], output->type(), false);
      }
    } else if (base != nullptr && certain_views().contains(name)) {
      result =
          TensorSlot{aliases_.view(base->tensor, {name, call, arguments, self, -1}, results[i])};
    } else if (base != nullptr) {
      result = TensorSlot{aliases_.possible_alias(results[i], {base->tensor})};
    } else if (alias != nullptr) {
      result = TensorSlot{aliases_.untraceable(results[i])};
    } else {
      result = TensorSlot{aliases_.fresh(results[i])};
    }
    if (tensor && !is_site) {
      is_site = true;
      HookPoint hook;
      hook.module = current_.module;
      hook.call = current_.call;
      hook.slot = HookPoint::Slot::operation;
      hook.operation = short_name(name);
      hook.occurrence = ++(*current_.occurrences)[hook.operation];
      block_->nodes[made_at].info.occurrence = hook.occurrence;
      add_site(std::move(hook), result, name);
    }
    bind(output, std::move(result), scope);
  }
}

void Lowering::lower_mutation(torch::jit::Node& node, const Scope& scope) {
  const c10::FunctionSchema& schema = node.schema();
  const std::string name = schema.name();
  std::size_t written = schema.arguments().size();
  for (std::size_t i = 0; i < schema.arguments().size(); ++i) {
    const c10::AliasInfo* alias = schema.arguments()[i].alias_info();
    if (alias == nullptr || !alias->isWrite()) continue;
    if (written != schema.arguments().size()) refuse(node, "it writes into two of its arguments");
    written = i;
  }
  if (written != 0) refuse(node, "it writes into an argument that is not its first (`out=`)");
  const Slot target = slot(node.input(0), scope);
  if (!std::holds_alternative<TensorSlot>(target)) {
    if (!lower_list_change(node, scope)) refuse(node, "it changes a value that is no tensor");
    return;
  }
  if (changes_of_shape().contains(name)) {
    refuse(
        node,
        "it changes the shape or memory of a tensor in place; use the form without the underscore");
  }
  if (name.back() != '_') refuse(node, "it writes in place and has no out-of-place form");
  auto [functional, call] = functional_form(node);
  std::vector<ValueId> arguments;
  for (const torch::jit::Value* input : node.inputs())
    arguments.push_back(materialise(slot(input, scope)));
  const Operation kept = [inner = std::move(call), count = arguments.size()](Stack& stack) {
    const at::Tensor self = stack[stack.size() - count].toTensor();
    inner(stack);
    // In place, a tensor keeps its type; out of place it may be promoted.
    if (stack.back().toTensor().scalar_type() != self.scalar_type()) {
      stack.back() = stack.back().toTensor().to(self.scalar_type());
    }
    if (stack.back().toTensor().sizes() != self.sizes()) {
      throw Error("the result does not fit into the tensor that is written");
    }
  };
  const ValueId value = emit(functional, kept, std::move(arguments), 1)[0];
  HookPoint hook;
  hook.module = current_.module;
  hook.call = current_.call;
  hook.slot = HookPoint::Slot::operation;
  hook.operation = short_name(functional);
  hook.occurrence = ++(*current_.occurrences)[hook.operation];
  block_->nodes.back().info.occurrence = hook.occurrence;
  program_.sites.push_back({std::move(hook), value, functional, true, loop_depth_ > 0});
  aliases_.write(std::get<TensorSlot>(target).tensor, value, emitter(), place(node));
  if (!node.outputs().empty()) bind(node.output(0), target, scope);
}

}  // namespace microtome::host::torchscript
