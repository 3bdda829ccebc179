#include "host/model/interpreter.h"

#include <limits>
#include <unordered_map>

namespace microtome::host {
namespace {

class Run {
 public:
  Run(const Program& program, const PreparedPass& pass, const std::function<void()>& check,
      Recording& recording)
      : program_(program),
        pass_(pass),
        check_(check),
        recording_(recording),
        values_(static_cast<std::size_t>(program.value_count)),
        has_action_(static_cast<std::size_t>(program.value_count), 0) {
    for (const ValueActions& action : pass.actions) has_action_[index(action.value)] = 1;
  }

  void define(ValueId id, c10::IValue value) {
    if (has_action_[index(id)] != 0) value = act(id, std::move(value));
    values_[index(id)] = std::move(value);
  }

  const c10::IValue& read(ValueId id) const {
    return id < 0 ? program_.constant(id) : values_[index(id)];
  }

  void run(const Block& block) {
    for (const Node& node : block.nodes) {
      if (check_) check_();
      switch (node.kind) {
        case Node::Kind::operation:
          operate(node);
          break;
        case Node::Kind::identity:
          define(node.outputs[0], read(node.inputs[0]));
          break;
        case Node::Kind::branch:
          branch(node);
          break;
        case Node::Kind::loop:
          loop(node);
          break;
        case Node::Kind::raise:
          throw Error(place(node) + "the model raised an exception: " +
                      (node.inputs.empty() ? std::string("(no message)")
                                           : read(node.inputs[0]).toStringRef()));
      }
      for (const ValueId id : node.last_uses) values_[index(id)] = c10::IValue();
    }
  }

 private:
  static std::size_t index(ValueId id) { return static_cast<std::size_t>(id); }

  static std::string place(const Node& node) {
    std::string text = node.info.operation;
    if (!node.info.module.empty()) text = node.info.module + "/" + text;
    if (!node.info.source.empty()) text += " (" + node.info.source + ")";
    return text + ": ";
  }

  void operate(const Node& node) {
    stack_.clear();
    for (const ValueId id : node.inputs) stack_.push_back(read(id));
    try {
      const BackwardRule* rule =
          pass_.rules != nullptr && pass_.record ? pass_.rules->find(node.info) : nullptr;
      if (rule != nullptr) {
        call_with_rule(node, *rule, stack_);
      } else {
        node.call(stack_);
      }
    } catch (const c10::Error& error) {
      throw Error(place(node) + error.what_without_backtrace());
    } catch (const Error&) {
      throw;
    } catch (const std::exception& error) {
      throw Error(place(node) + error.what());
    }
    if (stack_.size() != node.outputs.size()) {
      throw Error(place(node) + "returned " + std::to_string(stack_.size()) + " values for " +
                  std::to_string(node.outputs.size()));
    }
    for (std::size_t i = 0; i < node.outputs.size(); ++i) {
      define(node.outputs[i], std::move(stack_[i]));
    }
  }

  void branch(const Node& node) {
    const Block& taken = node.blocks[read(node.inputs[0]).toBool() ? 0 : 1];
    run(taken);
    for (std::size_t i = 0; i < node.outputs.size(); ++i) {
      define(node.outputs[i], read(taken.results[i]));
    }
    release(taken);
  }

  void loop(const Node& node) {
    const Block& body = node.blocks[0];
    const std::int64_t trips = read(node.inputs[0]).toInt();
    bool go_on = read(node.inputs[1]).toBool();
    Stack carried;
    for (std::size_t i = 2; i < node.inputs.size(); ++i) carried.push_back(read(node.inputs[i]));
    for (std::int64_t trip = 0; trip < trips && go_on; ++trip) {
      define(body.parameters[0], trip);
      for (std::size_t i = 0; i < carried.size(); ++i) {
        define(body.parameters[i + 1], std::move(carried[i]));
      }
      run(body);
      go_on = read(body.results[0]).toBool();
      for (std::size_t i = 0; i < carried.size(); ++i) carried[i] = read(body.results[i + 1]);
    }
    release(body);
    for (std::size_t i = 0; i < carried.size(); ++i) define(node.outputs[i], std::move(carried[i]));
  }

  /// A block's results outlive its last node; they are let go when they have been handed on.
  void release(const Block& block) {
    for (const ValueId id : block.results) {
      if (id < 0) continue;
      for (const Node& node : block.nodes) {
        for (const ValueId output : node.outputs) {
          if (output == id) values_[index(id)] = c10::IValue();
        }
      }
    }
  }

  c10::IValue act(ValueId id, c10::IValue value) {
    const int execution = ++executions_[id];
    if (!value.isTensor() || !value.toTensor().defined()) return value;
    at::Tensor tensor = value.toTensor();
    const at::Tensor before = tensor;
    for (const ValueActions& action : pass_.actions) {
      if (action.value != id || (action.execution != 0 && action.execution != execution)) continue;
      for (const Edit* edit : action.edits) tensor = edited(*edit, tensor);
      if (!action.differentiate.empty()) {
        if (!tensor.is_floating_point()) {
          throw Error("a value that gradients are asked by is no real number");
        }
        // The same tensor may go by another name (an identity, a `contiguous` without effect); a
        // gradient asked at this name must not include what flows through the other.
        tensor = tensor.requires_grad() ? at::alias(tensor) : tensor.detach().requires_grad_();
      }
      for (const std::size_t place : action.differentiate)
        recording_.differentiated[place] = tensor;
      for (const auto& [place, selector] : action.captures) {
        recording_.captured[place] = select(tensor, *selector, pass_.directions);
      }
    }
    if (tensor.is_same(before)) return value;
    return tensor;
  }

  at::Tensor edited(const Edit& edit, const at::Tensor& value) const {
    const at::Tensor part = select(value, edit.at.selector, pass_.directions);
    const at::Tensor replacement = edit.apply(part);
    if (replacement.is_same(part)) return value;
    if (!replacement.defined() || replacement.sizes() != part.sizes() ||
        replacement.scalar_type() != part.scalar_type()) {
      throw Error("the edit at \"" + edit.at.text() +
                  "\" must return what it got in shape and type");
    }
    return assign(value, edit.at.selector, replacement);
  }

  const Program& program_;
  const PreparedPass& pass_;
  const std::function<void()>& check_;
  Recording& recording_;
  std::vector<c10::IValue> values_;
  std::vector<char> has_action_;
  std::unordered_map<ValueId, int> executions_;
  Stack stack_;
};

}  // namespace

Recording interpret(const Program& program, const std::vector<at::Tensor>& inputs,
                    const PreparedPass& pass, const std::function<void()>& check) {
  const at::AutoGradMode mode(pass.record);
  Recording recording;
  recording.captured.resize(pass.captures);
  recording.differentiated.resize(pass.differentiated);
  Run run(program, pass, check, recording);
  for (std::size_t i = 0; i < program.inputs.size(); ++i) {
    run.define(program.inputs[i].value, inputs[i]);
  }
  run.run(program.body);
  for (const ProgramPort& output : program.outputs) {
    const c10::IValue& value = run.read(output.value);
    if (value.isTensor()) recording.outputs.set(output.name, value.toTensor());
  }
  return recording;
}

}  // namespace microtome::host
