#include <torch/csrc/jit/runtime/operator.h>
#include <torch/version.h>

#include <algorithm>
#include <set>

#include "host/model/torchscript/lowering.h"

namespace microtome::host::torchscript {

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
      "aten::squeeze_", "aten::unsqueeze_",  "aten::t_",        "aten::transpose_",
      "aten::resize_",  "aten::set_",        "aten::swapdims_", "aten::swapaxes_",
      "aten::detach_",  "aten::as_strided_", "aten::resize_as_"};
  return names;
}

/// Operators that may return an argument, or a view of one, though their schema does not say so.
const std::set<std::string>& may_return_arguments() {
  static const std::set<std::string> names = {
      "aten::type_as",         "aten::atleast_1d",      "aten::atleast_2d",
      "aten::atleast_3d",      "aten::einsum",          "aten::meshgrid",
      "aten::sum_to_size",     "aten::chain_matmul",    "aten::broadcast_tensors",
      "aten::cartesian_prod",  "aten::pixel_shuffle",   "aten::pixel_unshuffle",
      "aten::channel_shuffle", "aten::linalg_multi_dot"};
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

Operation without_recording(Operation operation) {
  return [inner = std::move(operation)](Stack& stack) {
    const at::NoGradGuard off;
    inner(stack);
  };
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
  // `__iand__` is `__and__`.
  const bool is_special = name.rfind("aten::__i", 0) == 0;
  const std::string functional =
      is_special ? "aten::__" + name.substr(9) : name.substr(0, name.size() - 1);
  for (const auto& candidate :
       torch::jit::getAllOperatorsFor(c10::Symbol::fromQualString(functional))) {
    const c10::FunctionSchema& other = candidate->schema();
    if (other.is_mutable() || other.arguments().size() != count || other.returns().size() != 1)
      continue;
    bool same = true;
    for (std::size_t i = 0; same && i < count; ++i)
      same = *other.arguments()[i].type() == *schema.arguments()[i].type();
    if (!same) continue;
    return {functional,
            [operation = candidate->getOperation()](Stack& stack) mutable { operation(stack); }};
  }
  throw Error(name + " has no out-of-place form, so it can't be kept");
}

}  // namespace

void Lowering::lower_operator(torch::jit::Node& node, const Scope& scope) {
  if (node.maybeOperator() == nullptr) {
    refuse(node, "the operator is not known to this LibTorch (" + std::string(TORCH_VERSION) +
                     "). Operators of an extension must be written with PyTorch's own");
  }
  if (node.maybeSchema() != nullptr && node.schema().is_mutable())
    return lower_mutation(node, scope);
  if (node.hasSideEffects()) refuse(node, "it acts on something outside of the model");
  if (!node.blocks().empty()) refuse(node, "it has blocks of its own, which is not supported");
  Computed choices = fold_choices(node, scope);
  if (!choices.choices.empty() && !choices.at_least) {
    const c10::IValue& first = choices.choices[0];
    const bool same = std::all_of(choices.choices.begin(), choices.choices.end(),
                                  [&](const c10::IValue& choice) { return choice == first; });
    if (same) return bind(node.output(), Known{first}, scope);
  }
  // Tensors in a list that the operator returns are those that it got.
  const bool hands_on = std::any_of(
      node.outputs().begin(), node.outputs().end(), [](const torch::jit::Value* output) {
        const auto kind = output->type()->kind();
        return kind == c10::TypeKind::ListType || kind == c10::TypeKind::DictType ||
               kind == c10::TypeKind::TupleType;
      });
  std::vector<ValueId> arguments;
  for (const torch::jit::Value* input : node.inputs()) {
    const Slot& given = slot(input, scope);
    const bool is_container = std::holds_alternative<std::shared_ptr<Structure>>(given);
    arguments.push_back(materialise(given, hands_on && is_container ? "a list" : ""));
  }
  const Operation call = gradients_ ? operation_of(node) : without_recording(operation_of(node));
  const std::string name = node.kind().toQualString();
  const auto results = emit(name, call, arguments, node.outputs().size());
  bind_results(node, scope, arguments, call, results);
  if (choices.choices.empty()) return;
  if (auto* value = std::get_if<Computed>(&slot(node.output(), scope))) {
    choices.id = value->id;
    *value = std::move(choices);
  }
}

HookPoint Lowering::operation_hook(const std::string& operation, std::size_t made_at) {
  HookPoint hook;
  hook.module = current_.module;
  hook.call = current_.call;
  hook.slot = HookPoint::Slot::operation;
  hook.operation = short_name(operation);
  hook.occurrence = ++(*current_.occurrences)[hook.operation];
  block_->nodes[made_at].info.occurrence = hook.occurrence;
  return hook;
}

Slot Lowering::result_slot(torch::jit::Node& node, std::size_t index, const Scope& scope,
                           const std::vector<ValueId>& arguments, const Operation& call,
                           ValueId value) {
  const c10::FunctionSchema* schema = node.maybeSchema();
  const std::string name = node.kind().toQualString();
  const c10::TypePtr& type = node.output(index)->type();
  const c10::AliasInfo* alias = schema != nullptr && index < schema->returns().size()
                                    ? schema->returns()[index].alias_info()
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
  // `unsafe_chunk` and its like return views too, which they do not say.
  if (name.rfind("aten::unsafe_", 0) == 0 && !node.inputs().empty()) self = 0;
  const auto* base = self < node.inputs().size()
                         ? std::get_if<TensorSlot>(&slot(node.input(self), scope))
                         : nullptr;
  std::vector<TensorRef> given;
  for (const torch::jit::Value* input : node.inputs()) collect_tensors(slot(input, scope), given);
  const bool may_return_argument = may_return_arguments().contains(name);
  if (!is_tensor_type(type)) {
    if (base != nullptr && type->isSubtypeOf(*c10::ListType::ofTensors())) {
      std::optional<std::int64_t> count;
      if (name.find("split") != std::string::npos || name.find("chunk") != std::string::npos) {
        const auto parts = known_value(slot(node.input(1), scope));
        if (parts && parts->isList()) count = static_cast<std::int64_t>(parts->toListRef().size());
        // Where the dimension is shorter than there are parts, it gives fewer; taking the last of
        // them fails when the model runs.
        if (parts && parts->isInt() && name.find("chunk") != std::string::npos)
          count = parts->toInt();
      }
      return ViewListSlot{base->tensor, {name, call, arguments, self, -1}, value, count};
    }
    if (may_return_argument) {
      for (const TensorRef tensor : given) aliases_.mark_held(tensor, "what " + name + " returned");
    }
    const bool has_parts_of_others = alias != nullptr || may_return_argument;
    return computed(value, type, !has_parts_of_others);
  }
  const bool optional = is_optional_tensor_type(type);
  if (base != nullptr && certain_views().contains(name)) {
    return TensorSlot{aliases_.view(base->tensor, {name, call, arguments, self, -1}, value),
                      optional};
  }
  if (base != nullptr) return TensorSlot{aliases_.possible_alias(value, {base->tensor}), optional};
  if (alias != nullptr || may_return_argument) {
    const TensorRef tensor = aliases_.possible_alias(value, given);
    if (!may_return_argument)
      aliases_.mark_held(tensor, "the list, tuple or dictionary that it comes out of");
    return TensorSlot{tensor, optional};
  }
  return TensorSlot{aliases_.fresh(value), optional};
}

void Lowering::bind_results(torch::jit::Node& node, const Scope& scope,
                            const std::vector<ValueId>& arguments, const Operation& call,
                            const std::vector<ValueId>& results) {
  const std::string name = node.kind().toQualString();
  const std::size_t made_at = block_->nodes.size() - 1;
  bool is_site = false;
  for (std::size_t i = 0; i < results.size(); ++i) {
    const torch::jit::Value* output = node.output(i);
    const bool is_tensor = is_tensor_type(output->type());
    const ValueId value = is_tensor ? without_gradient(results[i]) : results[i];
    Slot result = result_slot(node, i, scope, arguments, call, value);
    if (is_tensor && !is_site) {
      is_site = true;
      add_site(operation_hook(name, made_at), result, name);
    }
    bind(output, std::move(result), scope);
  }
}

void Lowering::lower_mutation(torch::jit::Node& node, const Scope& scope) {
  const c10::FunctionSchema& schema = node.schema();
  const std::string name = schema.name();
  const Slot target = slot(node.input(0), scope);
  if (!std::holds_alternative<TensorSlot>(target)) {
    if (!lower_change(node, scope))
      refuse(node, "it changes a value in place that is neither a tensor, a list nor a dictionary");
    return;
  }
  std::size_t written = schema.arguments().size();
  for (std::size_t i = 0; i < schema.arguments().size(); ++i) {
    const c10::AliasInfo* alias = schema.arguments()[i].alias_info();
    if (alias == nullptr || !alias->isWrite()) continue;
    if (written != schema.arguments().size()) refuse(node, "it writes into two of its arguments");
    written = i;
  }
  if (written != 0) refuse(node, "it writes into an argument that is not its first (`out=`)");
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
  const TensorRef tensor = std::get<TensorSlot>(target).tensor;
  if (!gradients_ && aliases_.read(aliases_.root_of(tensor), emitter()) < gradients_off_since_) {
    refuse(node,
           "within torch.no_grad() it writes into a tensor from outside, whose gradient would then "
           "not be that of its value. Write into a copy");
  }
  const ValueId made = emit(functional, kept, std::move(arguments), 1)[0];
  const std::size_t made_at = block_->nodes.size() - 1;
  const ValueId value = without_gradient(made);
  program_.sites.push_back(
      {operation_hook(functional, made_at), value, functional, true, loop_depth_ > 0});
  aliases_.write(tensor, value, emitter(), place(node));
  if (!node.outputs().empty()) bind(node.output(0), target, scope);
}

}  // namespace microtome::host::torchscript
