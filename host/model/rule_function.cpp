#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include "host/model/interpreter.h"

namespace microtome::host {
namespace {

/// What an operator call needs to be differentiated by a rule.
struct RuleCall {
  const Node* node = nullptr;
  BackwardRule rule;
  std::vector<c10::IValue> arguments;  // tensors detached
  std::vector<bool> differentiable;    // by tensor: what the run records
};

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

std::vector<at::Tensor> outputs_of(const Stack& stack, const Node& node) {
  std::vector<at::Tensor> outputs;
  for (const c10::IValue& value : stack) {
    if (!value.isTensor()) {
      throw Error("a backward rule applies to operators that return tensors; " +
                  node.info.operation + " does not");
    }
    outputs.push_back(value.toTensor());
  }
  return outputs;
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
    torch::autograd::variable_list outputs = outputs_of(stack, *call->node);
    // An operator may return its argument itself; the function's output must be a tensor of its
    // own.
    for (at::Tensor& output : outputs) {
      for (const at::Tensor& input : detached) {
        if (output.is_same(input)) output = output.clone();
      }
    }
    context->save_for_backward(outputs);
    context->saved_data["call"] = c10::IValue(static_cast<std::int64_t>(0));
    calls(context) = std::move(call);
    return outputs;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const std::shared_ptr<RuleCall> call = calls(context);
    std::vector<at::Tensor> outputs;
    for (const at::Tensor& output : context->get_saved_variables())
      outputs.push_back(output.detach());
    const auto again = [&](std::vector<c10::IValue> arguments) {
      Stack stack = std::move(arguments);
      call->node->call(stack);
      return outputs_of(stack, *call->node);
    };
    const std::vector<at::Tensor> inputs = tensors_of(call->arguments);
    const auto standard = [&] {
      const at::AutoGradMode mode(true);
      std::vector<at::Tensor> leaves, wanted;
      for (std::size_t i = 0; i < inputs.size(); ++i) {
        // Others, such as the moments of a batch norm, may have no derivative.
        const bool is_wanted = call->differentiable[i];
        leaves.push_back(is_wanted ? inputs[i].detach().requires_grad_() : inputs[i]);
        if (is_wanted) wanted.push_back(leaves.back());
      }
      const auto results = again(with_tensors(call->arguments, leaves));
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
        if (call->differentiable[i]) found[i] = flat[next++];
      }
      return found;
    };
    torch::autograd::variable_list result =
        call->rule({call->node->info, call->arguments, outputs, gradients, again, standard});
    if (result.size() != inputs.size()) {
      throw Error("the backward rule of " + call->node->info.operation + " returned " +
                  std::to_string(result.size()) + " gradients for " +
                  std::to_string(inputs.size()) + " tensors");
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

void call_with_rule(const Node& node, const BackwardRule& rule, Stack& stack) {
  const std::vector<at::Tensor> inputs = tensors_of(stack);
  auto call = std::make_shared<RuleCall>(RuleCall{&node, rule, stack, {}});
  for (const at::Tensor& input : inputs) call->differentiable.push_back(input.requires_grad());
  auto outputs = RuleFunction::apply(at::TensorList(inputs), call);
  stack.clear();
  for (at::Tensor& output : outputs) stack.emplace_back(std::move(output));
}

}  // namespace microtome::host
