#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <deque>

#include "host/model/rule_call.h"

namespace microtome::host {
namespace {

/// The tensors of the arguments in order, those in lists included.
std::vector<at::Tensor> tensors_of(const std::vector<c10::IValue>& arguments) {
  std::vector<at::Tensor> tensors;
  for (const c10::IValue& argument : arguments) {
    if (argument.isTensor() && argument.toTensor().defined())
      tensors.push_back(argument.toTensor());
    if (argument.isTensorList()) {
      for (const at::Tensor& tensor : argument.toTensorVector()) tensors.push_back(tensor);
    }
  }
  return tensors;
}

/// The arguments with other tensors in place of theirs, in the order of `tensors_of`.
std::vector<c10::IValue> with_tensors(const std::vector<c10::IValue>& arguments,
                                      const std::vector<at::Tensor>& tensors) {
  std::vector<c10::IValue> result;
  std::size_t next = 0;
  for (const c10::IValue& argument : arguments) {
    if (argument.isTensor() && argument.toTensor().defined()) {
      result.emplace_back(tensors.at(next++));
    } else if (argument.isTensorList()) {
      c10::List<at::Tensor> list;
      for (std::size_t i = 0; i < argument.toTensorVector().size(); ++i) {
        list.push_back(tensors.at(next++));
      }
      result.emplace_back(std::move(list));
    } else {
      result.push_back(argument);
    }
  }
  return result;
}

/// What the operator left on the stack as tensors in a row.
std::vector<at::Tensor> outputs_of(const Stack& stack, const Node& node) {
  std::vector<at::Tensor> outputs;
  for (const c10::IValue& value : stack) {
    if (!value.isTensor() && !value.isTensorList()) {
      throw Error("a backward rule applies to operators that return tensors; " +
                  node.info.operation + " does not");
    }
  }
  return tensors_of(stack);
}

/// Where the samples are in a value of the call's program.
SamplePlace place_of(const RuleCall& call, ValueId value) {
  const bool is_known = call.layout != nullptr && value >= 0 &&
                        call.layout->of(value).kind == ValueLayout::Kind::rows;
  if (is_known) return call.layout->of(value).place;
  throw Error(call.node->info.operation +
              (call.node->info.module.empty() ? "" : " in \"" + call.node->info.module + "\"") +
              " works on a value whose samples can't be told apart");
}

/// The value of the program that a tensor argument is; a constant for what stands in a list.
ValueId argument_value(const RuleCall& call, std::size_t tensor) {
  constexpr ValueId in_a_list = -1;
  std::size_t count = 0;
  for (std::size_t i = 0; i < call.arguments.size(); ++i) {
    const c10::IValue& argument = call.arguments[i];
    const bool is_tensor = argument.isTensor() && argument.toTensor().defined();
    if (is_tensor && count == tensor) return call.node->inputs.at(i);
    if (is_tensor) ++count;
    if (!argument.isTensorList()) continue;
    count += argument.toTensorVector().size();
    if (tensor < count) return in_a_list;
  }
  return in_a_list;
}

/// Makes calls look as rules see them, for as long as it lives.
class ShownCalls {
 public:
  const BackwardCall& show(const RuleCall& call, const std::vector<at::Tensor>& gradients,
                           std::function<std::vector<at::Tensor>()> standard) {
    return shown_.emplace_back(BackwardCall{
        call.node->info, call.arguments, call.outputs, gradients, call.differentiable,
        [&call](std::vector<c10::IValue> arguments) {
          Stack stack = std::move(arguments);
          call.node->call(stack);
          return outputs_of(stack, *call.node);
        },
        std::move(standard),
        [this, &call](std::size_t argument) -> const BackwardCall* {
          const std::shared_ptr<RuleCall>& made_by = call.producers.at(argument);
          if (made_by == nullptr) return nullptr;
          return &show(*made_by, none_, [] { return std::vector<at::Tensor>(); });
        },
        [&call](std::size_t argument) { return place_of(call, argument_value(call, argument)); },
        [&call](std::size_t output) { return place_of(call, call.node->outputs.at(output)); }});
  }

 private:
  std::deque<BackwardCall> shown_;
  const std::vector<at::Tensor> none_{};
};

std::vector<at::Tensor> standard_gradients(const RuleCall& call,
                                           const std::vector<at::Tensor>& gradients) {
  const at::AutoGradMode mode(true);
  const std::vector<at::Tensor> inputs = tensors_of(call.arguments);
  std::vector<at::Tensor> leaves, wanted;
  leaves.reserve(inputs.size());
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    // Others, such as the moments of a batch norm, may have no derivative.
    const bool is_wanted = call.differentiable[i];
    leaves.push_back(is_wanted ? inputs[i].detach().requires_grad_() : inputs[i]);
    if (is_wanted) wanted.push_back(leaves.back());
  }
  Stack stack = with_tensors(call.arguments, leaves);
  call.node->call(stack);
  const std::vector<at::Tensor> results = outputs_of(stack, *call.node);
  std::vector<at::Tensor> used, given;
  for (std::size_t i = 0; i < results.size(); ++i) {
    if (gradients[i].defined() && results[i].requires_grad()) {
      used.push_back(results[i]);
      given.push_back(gradients[i]);
    }
  }
  std::vector<at::Tensor> found(inputs.size());
  if (used.empty() || wanted.empty()) return found;
  const auto flat = torch::autograd::grad(used, wanted, given, false, false, true);
  for (std::size_t i = 0, next = 0; i < inputs.size(); ++i) {
    if (call.differentiable[i]) found[i] = flat[next++];
  }
  return found;
}

class RuleFunction : public torch::autograd::Function<RuleFunction> {
 public:
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* context,
                                                at::TensorList inputs,
                                                std::shared_ptr<RuleCall> call) {
    std::vector<at::Tensor> detached;
    for (const at::Tensor& input : inputs) detached.push_back(input.detach());
    call->arguments = with_tensors(call->arguments, detached);
    Stack stack = call->arguments;
    call->node->call(stack);
    for (const c10::IValue& value : stack) {
      call->list_lengths.push_back(
          value.isTensorList() ? static_cast<std::int64_t>(value.toTensorVector().size()) : -1);
    }
    torch::autograd::variable_list outputs = outputs_of(stack, *call->node);
    // An operator may return its argument itself; the function's output must be a tensor of its
    // own.
    for (at::Tensor& output : outputs) {
      for (const at::Tensor& input : detached) {
        if (output.is_same(input)) output = output.clone();
      }
    }
    for (const at::Tensor& output : outputs) call->outputs.push_back(output.detach());
    context->saved_data["call"] = c10::IValue(static_cast<std::int64_t>(0));
    calls(context) = std::move(call);
    return outputs;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const std::shared_ptr<RuleCall> call = calls(context);
    ShownCalls shown;
    const auto standard = [&] { return standard_gradients(*call, gradients); };
    torch::autograd::variable_list result = call->rule(shown.show(*call, gradients, standard));
    const std::size_t inputs = call->differentiable.size();
    if (result.size() != inputs) {
      throw Error("the backward rule of " + call->node->info.operation + " returned " +
                  std::to_string(result.size()) + " gradients for " + std::to_string(inputs) +
                  " tensors");
    }
    result.emplace_back();  // for the call itself
    return result;
  }

 private:
  /// The call lives as long as the graph's node: it is kept alive by a capsule in `saved_data`.
  static std::shared_ptr<RuleCall>& calls(torch::autograd::AutogradContext* context);
};

/// Holds a C++ object in an IValue.
struct CallHolder : torch::CustomClassHolder {
  std::shared_ptr<RuleCall> call;
};

std::shared_ptr<RuleCall>& RuleFunction::calls(torch::autograd::AutogradContext* context) {
  c10::IValue& slot = context->saved_data["call"];
  if (!slot.isCapsule()) {
    slot = c10::IValue::make_capsule(c10::make_intrusive<CallHolder>());
  }
  const auto holder = slot.toCapsule();
  return static_cast<CallHolder*>(holder.get())->call;
}

}  // namespace

RuledCalls::~RuledCalls() = default;

std::shared_ptr<RuleCall> RuledCalls::made_by(const at::Tensor& value) const {
  const auto found = calls_.find(value.unsafeGetTensorImpl());
  return found == calls_.end() ? nullptr : found->second.call;
}

void RuledCalls::call(const Node& node, const BackwardRule& rule, const BatchLayout* layout,
                      Stack& stack) {
  const std::vector<at::Tensor> inputs = tensors_of(stack);
  auto call = std::make_shared<RuleCall>();
  call->node = &node;
  call->layout = layout;
  call->rule = rule;
  call->arguments = stack;
  for (const at::Tensor& input : inputs) {
    call->differentiable.push_back(input.requires_grad());
    call->producers.push_back(made_by(input));
  }
  const auto outputs = RuleFunction::apply(at::TensorList(inputs), call);
  for (const at::Tensor& output : outputs)
    calls_.insert_or_assign(output.unsafeGetTensorImpl(),
                            Made{WeakTensor(output.getIntrusivePtr()), call});
  stack.clear();
  auto next = outputs.begin();
  for (const std::int64_t length : call->list_lengths) {
    if (length < 0) {
      stack.emplace_back(*next++);
      continue;
    }
    c10::List<at::Tensor> list;
    for (std::int64_t i = 0; i < length; ++i) list.push_back(*next++);
    stack.emplace_back(std::move(list));
  }
}

namespace {

/// The identity, whose gradient is an error.
class Refusal : public torch::autograd::Function<Refusal> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& value,
                            const std::string& message) {
    context->saved_data["message"] = message;
    return value.view_as(value);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list&) {
    throw Error(context->saved_data["message"].toStringRef());
  }
};

}  // namespace

void call_without_rule(const Node& node, Stack& stack, const std::string& message) {
  const std::vector<at::Tensor> given = tensors_of(stack);
  node.call(stack);
  const auto refused = [&](const at::Tensor& made) {
    const bool is_new = std::none_of(
        given.begin(), given.end(), [&](const at::Tensor& tensor) { return tensor.is_same(made); });
    return is_new && made.requires_grad() ? Refusal::apply(made, message) : made;
  };
  for (c10::IValue& value : stack) {
    if (value.isTensor() && value.toTensor().defined()) value = refused(value.toTensor());
    if (!value.isTensorList()) continue;
    const std::vector<at::Tensor> made = value.toTensorVector();
    c10::List<at::Tensor> list;
    bool same = true;
    for (const at::Tensor& tensor : made) {
      list.push_back(refused(tensor));
      same = same && list.get(list.size() - 1).is_same(tensor);
    }
    // A list that was only handed on stays the very list: others may read it.
    if (!same) value = std::move(list);
  }
}

}  // namespace microtome::host
