// What PyTorch decides by its state: a network runs in evaluation mode, with gradients recorded,
// without autocast. And what may not be random.
#include <algorithm>
#include <set>

#include "host/model/torchscript/fused_operators.h"
#include "host/model/torchscript/lowering.h"

namespace microtome::host::torchscript {

namespace {

bool is_one_of(const std::string& name, const std::set<std::string>& names) {
  return names.contains(name);
}

/// The place of an argument, or nothing.
std::optional<std::size_t> argument_named(const torch::jit::Node& node,
                                          const std::set<std::string>& names) {
  if (node.maybeSchema() == nullptr) return std::nullopt;
  const auto& arguments = node.schema().arguments();
  for (std::size_t i = 0; i < arguments.size() && i < node.inputs().size(); ++i) {
    if (names.contains(arguments[i].name())) return i;
  }
  return std::nullopt;
}

bool draws_random_numbers(const torch::jit::Node& node) {
  const std::string name = node.kind().toQualString();
  if (node.isNondeterministic() || name.rfind("aten::rand", 0) == 0) return true;
  if (node.maybeSchema() == nullptr) return false;
  const auto& arguments = node.schema().arguments();
  return std::any_of(arguments.begin(), arguments.end(), [](const c10::Argument& argument) {
    return argument.type()->str().find("Generator") != std::string::npos;
  });
}

const char* const leave_out_training =
    "Save the network in evaluation mode (net.eval() before tracing or scripting) and hand "
    "functional calls `training=self.training`";

}  // namespace

bool Lowering::lower_evaluation(torch::jit::Node& node, const Scope& scope) {
  const std::string name = node.kind().toQualString();
  if (name == "aten::is_grad_enabled") {
    bind(node.output(), Known{gradients_}, scope);
    return true;
  }
  if (name.rfind("aten::is_autocast", 0) == 0) {
    bind(node.output(), Known{false}, scope);
    return true;
  }
  // Seeds matter to what draws random numbers alone, which is refused.
  static const std::set<std::string> without_meaning = {"aten::manual_seed", "aten::seed",
                                                        "aten::warn", "aten::_log_api_usage_once"};
  if (is_one_of(name, without_meaning) || name.rfind("profiler::", 0) == 0 ||
      node.kind() == c10::prim::Print) {
    for (const torch::jit::Value* output : node.outputs())
      bind(output, Known{c10::IValue()}, scope);
    return true;
  }
  if (name == "aten::grad" || name == "aten::backward" || name == "aten::autograd_grad") {
    refuse(node,
           "the network computes gradients while it runs, which is not supported: analyses record "
           "gradients of their own. Save the part that computes outputs alone");
  }
  if (name == "aten::requires_grad_") {
    const auto on = known_value(slot(node.input(1), scope));
    if (!on || !on->toBool())
      refuse(node, "it stops gradients of a tensor in place; use `detach()`");
    bind(node.output(), slot(node.input(0), scope), scope);
    return true;
  }
  if (node.kind() == c10::prim::requires_grad) {
    bind(node.output(), Known{would_require_gradient(slot(node.input(0), scope))}, scope);
    return true;
  }
  // Asking whether a mask would do makes none.
  const bool asks = name == "aten::_nested_tensor_from_mask_left_aligned";
  if (!asks &&
      (name.find("nested_tensor") != std::string::npos || name.rfind("aten::_nested", 0) == 0)) {
    refuse(node,
           "it makes a nested tensor, the fast path that PyTorch takes for padded sequences when "
           "gradients are off; it has no gradient and no rows. Trace the network with gradients on "
           "(not under torch.no_grad()), or build it with enable_nested_tensor=False");
  }
  return set_gradients(node, scope) || lower_dropout(node, scope) || lower_fused(node, scope);
}

bool Lowering::would_require_gradient(const Slot& slot) {
  const auto* tensor = std::get_if<TensorSlot>(&slot);
  if (tensor == nullptr) return false;
  const ValueId value = aliases_.read(tensor->tensor, emitter());
  if (value >= 0) return true;
  return std::any_of(program_.parameters.begin(), program_.parameters.end(),
                     [&](const ProgramParameter& parameter) {
                       return parameter.constant == value && !parameter.is_buffer;
                     });
}

bool Lowering::set_gradients(torch::jit::Node& node, const Scope& scope) {
  if (std::string(node.kind().toQualString()) != "aten::set_grad_enabled") return false;
  const auto on = known_value(slot(node.input(0), scope));
  if (!on) refuse(node, "whether gradients are recorded depends on the data");
  if (gradients_ && !on->toBool()) gradients_off_since_ = program_.value_count;
  gradients_ = on->toBool();
  return true;
}

bool Lowering::lower_dropout(torch::jit::Node& node, const Scope& scope) {
  static const std::set<std::string> dropouts = {"aten::dropout",
                                                 "aten::dropout_",
                                                 "aten::feature_dropout",
                                                 "aten::alpha_dropout",
                                                 "aten::alpha_dropout_",
                                                 "aten::feature_dropout_",
                                                 "aten::native_dropout",
                                                 "aten::feature_alpha_dropout",
                                                 "aten::feature_alpha_dropout_"};
  const std::string name = node.kind().toQualString();
  const auto known = [&](std::size_t input) { return known_value(slot(node.input(input), scope)); };
  const auto dropped = argument_named(node, {"p", "dropout", "dropout_p"});
  const auto training = argument_named(node, {"train", "training"});
  const bool is_dropout = is_one_of(name, dropouts);
  if (is_dropout || (dropped && name.find("dropout") == std::string::npos &&
                     node.schema().arguments()[*dropped].name() != "p")) {
    const auto share = dropped ? known(*dropped) : std::nullopt;
    const auto on = training ? known(*training) : c10::IValue(true);
    const bool off = (on && on->isBool() && !on->toBool()) ||
                     (share && share->isScalar() && share->toScalar().toDouble() == 0);
    if (!off) {
      const bool certain = on && share;
      refuse(node, std::string("it draws random numbers: dropout is on although the model is in "
                               "evaluation mode") +
                       (certain ? ". " : ", or may be: that depends on the data. ") +
                       leave_out_training);
    }
    // It is its argument itself. Others (an LSTM, attention) have their dropout off.
    if (!is_dropout) return false;
    bind(node.output(0), slot(node.input(0), scope), scope);
    if (node.outputs().size() == 2) {
      const auto mask = emit(
          "aten::ones_like",
          [](Stack& stack) {
            const at::Tensor like = stack.back().toTensor();
            stack.back() = at::ones_like(like, like.options().dtype(at::kBool));
          },
          {materialise(slot(node.input(0), scope))}, 1);
      bind(node.output(1), TensorSlot{aliases_.fresh(mask[0])}, scope);
    }
    return true;
  }
  if (draws_random_numbers(node)) {
    // In evaluation its slope is fixed.
    const auto on = training ? known(*training) : std::nullopt;
    const bool off = name.rfind("aten::rrelu", 0) == 0 && on && !on->toBool();
    if (!off) {
      refuse(node, std::string("it draws random numbers, so a run could not be repeated. ") +
                       leave_out_training + ", or take the random tensor as an input");
    }
  }
  refuse_training(node, scope);
  return false;
}

bool Lowering::is_of_samples(ValueId value) const {
  if (block_ != &program_.body) return true;
  std::vector<char> of_samples(static_cast<std::size_t>(program_.value_count), 0);
  for (const ProgramPort& input : program_.inputs)
    of_samples[static_cast<std::size_t>(input.value)] = 1;
  for (const Node& node : program_.body.nodes) {
    const bool reached = !node.blocks.empty() ||
                         std::any_of(node.inputs.begin(), node.inputs.end(), [&](ValueId id) {
                           return id >= 0 && of_samples[static_cast<std::size_t>(id)] != 0;
                         });
    if (!reached) continue;
    for (const ValueId output : node.outputs) of_samples[static_cast<std::size_t>(output)] = 1;
  }
  return value < 0 || of_samples[static_cast<std::size_t>(value)] != 0;
}

void Lowering::refuse_training(const torch::jit::Node& node, const Scope& scope) {
  const std::string name = node.kind().toQualString();
  if (name.find("batch_norm") == std::string::npos || name.find("backward") != std::string::npos)
    return;
  const auto training = argument_named(node, {"train", "training"});
  if (!training) return;
  const auto on = known_value(scope.environment->at(node.input(*training)));
  if (on && !on->toBool()) return;
  // Weights that are standardised by it (Qiao et al. 2019, weight standardization).
  const auto statistics = argument_named(node, {"running_mean"});
  const auto kept =
      statistics ? known_value(scope.environment->at(node.input(*statistics))) : std::nullopt;
  if (kept && kept->isNone() && !is_of_samples(materialise(scope.environment->at(node.input(0)))))
    return;
  refuse(node,
         "batch norm takes mean and variance from the batch here, so what it gives for a sample "
         "depends on the samples beside it. Save the network in evaluation mode (net.eval()); a "
         "batch norm without running statistics (track_running_stats=False) can't be used: "
         "nn.InstanceNorm2d and nn.GroupNorm look at one sample alone");
}

void Lowering::name_by_parameters(std::size_t first) {
  const std::string end = ".weight", projection = ".out_proj";
  const auto ends_with = [](const std::string& text, const std::string& tail) {
    return text.size() > tail.size() &&
           text.compare(text.size() - tail.size(), tail.size(), tail) == 0;
  };
  for (std::size_t i = first; i < block_->nodes.size(); ++i) {
    const Node& node = block_->nodes[i];
    const bool linear = node.info.operation == "aten::linear";
    if (!linear && node.info.operation != "aten::layer_norm") continue;
    const ValueId weight = node.inputs.at(linear ? 1 : 2), output = node.outputs.at(0);
    for (const ProgramParameter& parameter : program_.parameters) {
      if (parameter.constant != weight || !ends_with(parameter.name, end)) continue;
      HookPoint name;
      name.module = parameter.name.substr(0, parameter.name.size() - end.size());
      name.call = ++calls_[name.module];
      program_.sites.push_back({name, output, node.info.operation, true, loop_depth_ > 0});
      if (!ends_with(name.module, projection)) continue;
      // Attention ends with its projection; it returns a tuple.
      name.module.resize(name.module.size() - projection.size());
      name.call = ++calls_[name.module];
      name.index = 0;
      name.has_index = true;
      program_.sites.push_back({name, output, "MultiheadAttention", true, loop_depth_ > 0});
    }
  }
}

bool Lowering::lower_fused(torch::jit::Node& node, const Scope& scope) {
  // Without weights of its own an embedding bag has nothing to go back to: its table is constant.
  if (std::string(node.kind().toQualString()) == "aten::embedding_bag" &&
      (node.inputs().size() < 8 || is_known_none(slot(node.input(6), scope))))
    return false;
  torch::jit::Function* const parts = fused_.parts_of(node.kind().toQualString());
  if (parts == nullptr) return false;
  std::vector<Slot> arguments;
  for (const torch::jit::Value* input : node.inputs()) arguments.push_back(slot(input, scope));
  // Older overloads lack the last arguments.
  arguments.resize(std::max(arguments.size(), parts->getSchema().arguments().size()),
                   Known{c10::IValue()});
  const std::size_t first = block_->nodes.size();
  const auto results = call_function(node, *parts, std::move(arguments), scope);
  if (ended_) return true;
  name_by_parameters(first);
  if (node.outputs().size() == 1) {
    bind(node.output(), results.at(0), scope);
    return true;
  }
  const auto& tuple = std::get<std::shared_ptr<Structure>>(results.at(0));
  bind_all(node, tuple->content.elements, scope);
  return true;
}

}  // namespace microtome::host::torchscript
