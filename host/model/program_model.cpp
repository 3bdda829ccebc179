#include "host/model/program_model.h"

#include <algorithm>

namespace microtome::host {
namespace {

void collect_nodes(const Block& block, Graph& graph) {
  for (const Node& node : block.nodes) {
    if (node.kind == Node::Kind::operation) graph.nodes.push_back(node.info);
    for (const Block& inner : node.blocks) collect_nodes(inner, graph);
  }
}

/// The hook's name as the table has it: `:in[0]` is `:in`, `:out[0]` of a single output is the
/// module.
std::string plain_name(HookPoint hook) {
  if (hook.slot == HookPoint::Slot::input && hook.index == 0) hook.has_index = false;
  hook.dictionary.reset();
  return hook.site();
}

}  // namespace

ProgramModel::ProgramModel(std::string name, Program program, ModelInput input, at::Device device)
    : name_(std::move(name)),
      program_(std::move(program)),
      input_(std::move(input)),
      device_(device) {
  if (!input_.mean.empty()) {
    mean_ = at::tensor(input_.mean, at::kFloat);
    std_ = at::tensor(input_.std, at::kFloat);
    add_normalisation(program_, mean_, std_);
    find_last_uses(program_);
  }
  move_to(program_, device_);
  collect_nodes(program_.body, graph_);
  for (std::size_t i = 0; i < program_.sites.size(); ++i) {
    sites_.emplace(program_.sites[i].name.site(), i);
  }
  for (const ProgramPort& port : program_.inputs) {
    inputs_.push_back({port.name, at::kFloat,
                       program_.inputs.size() == 1 ? input_.size : std::vector<std::int64_t>{}});
  }
  for (const ProgramPort& port : program_.outputs) outputs_.push_back({port.name, at::kFloat, {}});
}

at::Tensor ProgramModel::normalise(const at::Tensor& pixels) const {
  if (!normalises()) return pixels;
  const auto shaped = [&](const at::Tensor& value) {
    return value.to(pixels.device()).view({-1, 1, 1});
  };
  return (pixels - shaped(mean_)) / shaped(std_);
}

void ProgramModel::learn_default_shapes() const {
  if (input_.size.empty() || program_.inputs.size() != 1) return;
  std::vector<std::int64_t> size{1};
  size.insert(size.end(), input_.size.begin(), input_.size.end());
  learn_shapes({at::zeros(size)});
}

void ProgramModel::learn_shapes(const std::vector<at::Tensor>& examples) const {
  std::call_once(learned_, [&] {
    PreparedPass pass;
    const Selector whole;
    pass.captures = program_.sites.size();
    for (std::size_t i = 0; i < program_.sites.size(); ++i) {
      ValueActions action;
      action.value = program_.sites[i].value;
      action.captures.emplace_back(i, &whole);
      pass.actions.push_back(std::move(action));
    }
    std::vector<at::Tensor> moved;
    moved.reserve(examples.size());
    for (const at::Tensor& example : examples) moved.push_back(example.to(device_));
    const Recording recording = interpret(program_, moved, pass, {});
    for (std::size_t i = 0; i < program_.sites.size(); ++i) {
      const at::Tensor& value = recording.captured[i];
      if (value.defined()) shapes_[i] = {value.scalar_type(), value.sizes().vec()};
    }
    for (PortInfo& output : outputs_) {
      if (const at::Tensor* value = recording.outputs.find(output.name);
          value != nullptr && value->dim() > 0) {
        output.type = value->scalar_type();
        output.shape = value->sizes().slice(1).vec();
      }
    }
  });
}

const std::vector<PortInfo>& ProgramModel::outputs() const {
  learn_default_shapes();
  return outputs_;
}

std::vector<HookPointInfo> ProgramModel::hook_points() const {
  learn_default_shapes();
  std::vector<HookPointInfo> result;
  for (std::size_t i = 0; i < program_.sites.size(); ++i) {
    const HookSite& site = program_.sites[i];
    HookPointInfo info{site.name.site(), site.operation, site.tensor, at::kFloat, {}};
    if (const auto known = shapes_.find(i); known != shapes_.end()) {
      info.type = known->second.type;
      info.shape = known->second.shape;
    }
    result.push_back(std::move(info));
  }
  return result;
}

const HookSite& ProgramModel::site(const HookPoint& hook, int& execution) const {
  execution = 0;
  if (hook.dictionary) {
    throw Error("\"" + hook.text() + "\": no stage offers a dictionary to a model's run yet");
  }
  const std::string name = plain_name(hook);
  if (const auto found = sites_.find(name); found != sites_.end()) {
    const HookSite& site = program_.sites[found->second];
    if (site.in_loop)
      execution = hook.slot == HookPoint::Slot::operation ? hook.occurrence : hook.call;
    return site;
  }
  // `name:out[0]` of a module with one output.
  HookPoint plain = hook;
  if (plain.slot == HookPoint::Slot::output && plain.has_index && plain.index == 0) {
    plain.has_index = false;
    return site(plain, execution);
  }
  // The k-th time that a loop comes by.
  HookPoint first = hook;
  (first.slot == HookPoint::Slot::operation ? first.occurrence : first.call) = 1;
  if (const auto found = sites_.find(plain_name(first));
      found != sites_.end() && program_.sites[found->second].in_loop) {
    execution = hook.slot == HookPoint::Slot::operation ? hook.occurrence : hook.call;
    return program_.sites[found->second];
  }
  std::vector<std::string> names;
  for (const HookSite& candidate : program_.sites) names.push_back(candidate.name.site());
  throw Error(hook.location, "the model" + (name_.empty() ? "" : " \"" + name_ + "\"") +
                                 " has no hook point \"" + name + "\"" + suggestion(name, names));
}

HookPointInfo ProgramModel::resolve(const HookPoint& hook) const {
  int execution = 0;
  const HookSite& found = site(hook, execution);
  learn_default_shapes();
  HookPointInfo info{hook.site(), found.operation, found.tensor, at::kFloat, {}};
  const auto index = static_cast<std::size_t>(&found - program_.sites.data());
  if (const auto known = shapes_.find(index); known != shapes_.end()) {
    info.type = known->second.type;
    info.shape = known->second.shape;
  }
  return info;
}

Recording ProgramModel::run(const NamedTensors& inputs, const Pass& pass) const {
  PreparedPass prepared;
  prepared.rules = pass.rules.empty() ? nullptr : &pass.rules;
  prepared.record = pass.record_gradients || !pass.differentiate.empty();
  prepared.captures = pass.capture.size();
  prepared.directions = pass.directions;
  prepared.differentiated = pass.differentiate.size();
  const auto action_at = [&](const HookPoint& hook) -> ValueActions& {
    int execution = 0;
    const ValueId value = site(hook, execution).value;
    for (ValueActions& action : prepared.actions) {
      if (action.value == value && action.execution == execution) return action;
    }
    ValueActions action;
    action.value = value;
    action.execution = execution;
    prepared.actions.push_back(std::move(action));
    return prepared.actions.back();
  };
  for (const Edit& edit : pass.edits) action_at(edit.at).edits.push_back(&edit);
  for (std::size_t i = 0; i < pass.differentiate.size(); ++i) {
    if (!pass.differentiate[i].selector.empty()) {
      throw Error("gradients are by whole values; \"" + pass.differentiate[i].text() +
                  "\" selects a part");
    }
    action_at(pass.differentiate[i]).differentiate.push_back(i);
  }
  for (std::size_t i = 0; i < pass.capture.size(); ++i) {
    action_at(pass.capture[i]).captures.emplace_back(i, &pass.capture[i].selector);
  }
  std::vector<at::Tensor> ordered;
  for (const ProgramPort& input : program_.inputs)
    ordered.push_back(inputs.at(input.name).to(device_));
  Recording recording = interpret(program_, ordered, prepared, check_);
  for (std::size_t i = 0; i < pass.capture.size(); ++i) {
    if (!recording.captured[i].defined()) {
      throw Error("the run did not come by the hook point \"" + pass.capture[i].text() +
                  "\": it is in a branch or loop that was not taken so far on this input");
    }
  }
  for (std::size_t i = 0; i < pass.differentiate.size(); ++i) {
    if (!recording.differentiated[i].defined()) {
      throw Error("the run did not come by the hook point \"" + pass.differentiate[i].text() +
                  "\"");
    }
  }
  return recording;
}

}  // namespace microtome::host
