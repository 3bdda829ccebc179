#include "host/model/torchscript/lowering.h"

#include <torch/csrc/jit/ir/constants.h>

#include <algorithm>
#include <limits>

namespace microtome::host::torchscript {

namespace prim = c10::prim;
using torch::jit::Module;

namespace {
/// Loops that are known to be short are written out, so that each turn has hook points of its own.
constexpr std::int64_t longest_unrolled_loop = 128;
constexpr std::size_t deepest_call = 200;

std::string joined(const std::string& path, const std::string& name) {
  return path.empty() ? name : path + "." + name;
}
}  // namespace

Lowering::Lowering(const Module& root) : root_(root) {}

Program Lowering::run() {
  block_ = &program_.body;
  const auto method = root_.find_method("forward");
  if (!method) throw Error("the module has no method `forward`");
  const auto graph = method->graph();
  std::vector<Slot> arguments;
  std::vector<Slot> inputs;
  for (std::size_t i = 1; i < graph->inputs().size(); ++i) {
    const torch::jit::Value* input = graph->inputs()[i];
    std::string name = input->debugNameBase();
    const ValueId id = new_value();
    program_.inputs.push_back({name, id});
    if (!input->type()->isSubtypeOf(*c10::TensorType::get()) &&
        !input->type()->isSubtypeOf(*c10::OptionalType::create(c10::TensorType::get()))) {
      throw Error("the input \"" + name + "\" is " + input->type()->repr_str() +
                  "; inputs must be tensors");
    }
    inputs.emplace_back(TensorSlot{aliases_.fresh(id)});
  }
  const bool single = inputs.size() == 1;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const std::string name = "input." + program_.inputs[i].name;
    if (single) add_site(parse_hook_point("input"), inputs[i], "input");
    add_site(parse_hook_point(name), inputs[i], "input");
  }
  const auto outputs = call_module({root_, ""}, "forward", std::move(inputs));
  if (outputs.size() != 1) throw Error("`forward` returns nothing");
  add_outputs(outputs[0], "");
  for (const ProgramPort& output : program_.outputs) {
    HookPoint name;
    name.module = program_.outputs.size() == 1 ? "output" : "output." + output.name;
    program_.sites.push_back({std::move(name), output.value, "output", true, false});
  }
  find_last_uses(program_);
  return std::move(program_);
}

void Lowering::add_outputs(const Slot& slot, const std::string& name) {
  const auto inner = [&](const std::string& part) { return joined(name, part); };
  if (const auto* structure = std::get_if<std::shared_ptr<Structure>>(&slot)) {
    for (std::size_t i = 0; i < (*structure)->elements.size(); ++i) {
      const auto& names = (*structure)->names;
      add_outputs((*structure)->elements[i], inner(names.empty() ? std::to_string(i) : names[i]));
    }
    return;
  }
  if (const auto* tensor = std::get_if<TensorSlot>(&slot)) {
    // A value of its own: hooking the output is not hooking what made it.
    const ValueId id = identity(aliases_.read(tensor->tensor, emitter()));
    program_.outputs.push_back({name.empty() ? "output" : name, id});
  }
}

std::vector<Slot> Lowering::call_module(const ModuleSlot& module, const std::string& method,
                                        std::vector<Slot> arguments) {
  const auto found = module.module.find_method(method);
  if (!found) throw Error("module \"" + module.path + "\" has no method " + method);
  // Traced modules that are called again have methods forward1, forward2, ...
  const bool is_forward = method.rfind("forward", 0) == 0;
  const Scope before = current_;
  Scope scope = before;
  std::map<std::string, int> occurrences;
  std::string type;
  if (is_forward) {
    scope.module = module.path;
    scope.call = ++calls_[module.path];
    scope.occurrences = &occurrences;
    type = module.module.type()->name() ? module.module.type()->name()->name() : "module";
    for (Slot& argument : arguments) separate(argument, std::numeric_limits<ValueId>::max());
    if (!module.path.empty()) {
      add_module_sites(scope.module, scope.call, HookPoint::Slot::input, arguments, type);
    }
  }
  current_ = scope;
  const std::int32_t first = program_.value_count;
  arguments.insert(arguments.begin(), module);
  auto results = call_graph(*found->graph(), std::move(arguments), scope);
  if (is_forward) {
    for (Slot& result : results) separate(result, first);
    if (!module.path.empty()) {
      add_module_sites(scope.module, scope.call, HookPoint::Slot::output, results, type);
    }
  }
  current_ = before;
  return results;
}

std::vector<Slot> Lowering::call_graph(torch::jit::Graph& graph, std::vector<Slot> arguments,
                                       const Scope& scope) {
  if (call_stack_.size() > deepest_call)
    throw Error("the model's functions call each other too deeply");
  call_stack_.emplace_back(scope.module, scope.call);
  Environment environment;
  Scope inner = scope;
  inner.environment = &environment;
  for (std::size_t i = 0; i < graph.inputs().size() && i < arguments.size(); ++i) {
    environment[graph.inputs()[i]] = std::move(arguments[i]);
  }
  auto results = lower_block(*graph.block(), inner);
  call_stack_.pop_back();
  return results;
}

std::vector<Slot> Lowering::lower_block(torch::jit::Block& block, const Scope& scope) {
  for (torch::jit::Node* node : block.nodes()) lower_node(*node, scope);
  std::vector<Slot> results;
  for (const torch::jit::Value* output : block.outputs()) results.push_back(slot(output, scope));
  return results;
}

void Lowering::lower_node(torch::jit::Node& node, const Scope& scope) {
  if (++node_count_ > 200'000)
    throw Error("the model has more than 200,000 operators when loops are written out");
  const auto kind = node.kind();
  const std::string before = source_;
  source_ = position(node);
  try {
    if (kind == prim::GetAttr) {
      get_attribute(node, scope);
    } else if (kind == prim::CallMethod) {
      const auto* module = std::get_if<ModuleSlot>(&slot(node.input(0), scope));
      if (module == nullptr) refuse(node, "it calls a method of an object that is no module");
      std::vector<Slot> arguments;
      for (std::size_t i = 1; i < node.inputs().size(); ++i)
        arguments.push_back(slot(node.input(i), scope));
      const ModuleSlot callee = *module;
      if (node.inputs().size() == 1 && hook_traced_identity(node, callee, scope)) {
        source_ = before;
        return;
      }
      const auto results = call_module(callee, node.s(c10::attr::name), std::move(arguments));
      for (std::size_t i = 0; i < node.outputs().size(); ++i)
        bind(node.output(i), results.at(i), scope);
    } else if (kind == prim::CallFunction) {
      const auto* function = std::get_if<FunctionSlot>(&slot(node.input(0), scope));
      if (function == nullptr) refuse(node, "it calls a function that is not known while loading");
      auto* graph_function = torch::jit::tryToGraphFunction(*function->function);
      if (graph_function == nullptr) refuse(node, "it calls a function that has no graph");
      std::vector<Slot> arguments;
      for (std::size_t i = 1; i < node.inputs().size(); ++i)
        arguments.push_back(slot(node.input(i), scope));
      const auto results = call_graph(*graph_function->graph(), std::move(arguments), scope);
      for (std::size_t i = 0; i < node.outputs().size(); ++i)
        bind(node.output(i), results.at(i), scope);
    } else if (kind == prim::If) {
      lower_if(node, scope);
    } else if (kind == prim::Loop) {
      lower_loop(node, scope);
    } else if (kind == prim::RaiseException) {
      raise(node, scope);
    } else if (kind == prim::SetAttr) {
      refuse(node, "it changes the module's state while it runs (attribute \"" +
                       node.s(c10::attr::name) + "\")");
    } else if (!lower_container(node, scope) && !lower_without_effect(node, scope) &&
               !fold(node, scope)) {
      lower_operator(node, scope);
    }
  } catch (Error& error) {
    if (error.where().empty()) error.add_where(place(node));
    throw;
  } catch (const c10::Error& error) {
    Error mine(error.what_without_backtrace());
    mine.add_where(place(node));
    throw mine;
  }
  source_ = before;
}

bool Lowering::hook_traced_identity(torch::jit::Node& node, const ModuleSlot& callee,
                                    const Scope& scope) {
  const auto method = callee.module.find_method(node.s(c10::attr::name));
  if (!method) return false;
  for (torch::jit::Node* inner : method->graph()->nodes()) {
    if (inner->kind() != prim::Constant) return false;
  }
  torch::jit::Node* before = node.prev();
  while (before->kind() == prim::Constant || before->kind() == prim::GetAttr)
    before = before->prev();
  bind(node.output(), Known{c10::IValue()}, scope);
  ++calls_[callee.path];
  if (before->outputs().size() != 1) return true;
  Slot& passed = slot(before->output(), scope);
  if (!std::holds_alternative<TensorSlot>(passed)) return true;
  separate(passed, std::numeric_limits<ValueId>::max());
  std::vector<Slot> results{passed};
  add_module_sites(callee.path, calls_[callee.path], HookPoint::Slot::output, results, "Identity");
  return true;
}

void Lowering::get_attribute(torch::jit::Node& node, const Scope& scope) {
  const auto* owner = std::get_if<ModuleSlot>(&slot(node.input(), scope));
  if (owner == nullptr) refuse(node, "it reads an attribute of an object that is no module");
  const std::string name = node.s(c10::attr::name);
  const c10::IValue value = owner->module._ivalue()->getAttr(name);
  const std::string path = joined(owner->path, name);
  if (value.isModule()) {
    bind(node.output(), ModuleSlot{value.toModule(), path}, scope);
  } else if (value.isTensor() && value.toTensor().defined()) {
    const auto& type = owner->module.type();
    const std::size_t index = type->getAttributeSlot(name);
    const std::size_t known = parameters_.size();
    const TensorSlot tensor{tensor_constant(value.toTensor(), path)};
    // Tied parameters are one constant, under the name that is read first.
    if (parameters_.size() > known) {
      program_.parameters.push_back(
          {path, -static_cast<ValueId>(program_.constants.size()), !type->is_parameter(index)});
    }
    bind(node.output(), tensor, scope);
  } else if (value.isObject()) {
    refuse(node, "\"" + path + "\" is an object of a custom class");
  } else {
    bind(node.output(), Known{value}, scope);
  }
}

void Lowering::raise(torch::jit::Node& node, const Scope& scope) {
  Node raised;
  raised.kind = Node::Kind::raise;
  raised.info = {"prim::RaiseException", scope.module, scope.call, 1, {}, {}, depth_,
                 position(node)};
  const Slot& message = slot(node.input(0), scope);
  if (!std::holds_alternative<std::monostate>(message))
    raised.inputs.push_back(materialise(message));
  block_->nodes.push_back(std::move(raised));
}

void Lowering::lower_if(torch::jit::Node& node, const Scope& scope) {
  const Slot condition = slot(node.input(), scope);
  if (const auto* known = std::get_if<Known>(&condition)) {
    const auto results = lower_block(*node.blocks()[known->value.toBool() ? 0 : 1], scope);
    for (std::size_t i = 0; i < results.size(); ++i) bind(node.output(i), results[i], scope);
    return;
  }
  Node branch;
  branch.kind = Node::Kind::branch;
  branch.info = {"prim::If", scope.module, scope.call, 1, {}, {}, depth_, position(node)};
  branch.inputs = {materialise(condition)};
  branch.blocks.resize(2);

  Block* const outer = block_;
  const AliasTable before = aliases_;
  ++depth_;
  AliasTable after[2];
  std::vector<Slot> results[2];
  std::vector<TensorRef> written;
  for (int side = 0; side < 2; ++side) {
    aliases_ = before;
    block_ = &branch.blocks[static_cast<std::size_t>(side)];
    results[side] = lower_block(*node.blocks()[static_cast<std::size_t>(side)], scope);
    for (std::size_t i = 0; i < results[side].size(); ++i) {
      block_->results.push_back(materialise_result(results[side][i]));
    }
    after[side] = aliases_;
    for (const TensorRef root : aliases_.written_since(before)) {
      if (std::find(written.begin(), written.end(), root) == written.end()) written.push_back(root);
    }
  }
  // What a branch wrote in place into tensors from outside leaves it as a result.
  for (int side = 0; side < 2; ++side) {
    aliases_ = after[side];
    block_ = &branch.blocks[static_cast<std::size_t>(side)];
    for (const TensorRef root : written) block_->results.push_back(aliases_.read(root, emitter()));
  }
  --depth_;
  block_ = outer;
  aliases_ = before;
  for (const AliasTable& tried : after) aliases_.merge_unknown(tried);

  const std::size_t count = node.outputs().size() + written.size();
  for (std::size_t i = 0; i < count; ++i) branch.outputs.push_back(new_value());
  const std::vector<ValueId> outputs = branch.outputs;
  block_->nodes.push_back(std::move(branch));
  for (std::size_t i = 0; i < node.outputs().size(); ++i) {
    const torch::jit::Value* output = node.output(i);
    if (!output->type()->isSubtypeOf(*c10::TensorType::get())) {
      bind(output, computed(outputs[i], output->type(), false), scope);
      continue;
    }
    // The result may be a tensor from outside of the branches.
    std::vector<TensorRef> sources, existing;
    collect_tensors(results[0][i], sources);
    collect_tensors(results[1][i], sources);
    for (const TensorRef source : sources) {
      if (before.contains(source)) existing.push_back(source);
    }
    bind(output, TensorSlot{aliases_.possible_alias(outputs[i], existing)}, scope);
  }
  for (std::size_t i = 0; i < written.size(); ++i) {
    aliases_.replace_root(written[i], outputs[node.outputs().size() + i]);
  }
}

void Lowering::lower_loop(torch::jit::Node& node, const Scope& scope) {
  if (!unroll(node, scope)) lower_dynamic_loop(node, scope);
}

bool Lowering::unroll(torch::jit::Node& node, const Scope& scope) {
  const auto* trips = std::get_if<Known>(&slot(node.input(0), scope));
  const auto* start = std::get_if<Known>(&slot(node.input(1), scope));
  torch::jit::Block& body = *node.blocks()[0];
  if (trips == nullptr || start == nullptr || trips->value.toInt() > longest_unrolled_loop)
    return false;
  // The condition to go on must be known: a constant outside, or made as one inside.
  const torch::jit::Value* go_on = body.outputs()[0];
  const auto constant = torch::jit::toIValue(go_on);
  if (!constant || !constant->toBool()) return false;
  std::vector<Slot> carried;
  for (std::size_t i = 2; i < node.inputs().size(); ++i)
    carried.push_back(slot(node.input(i), scope));
  const std::int64_t count = start->value.toBool() ? trips->value.toInt() : 0;
  for (std::int64_t trip = 0; trip < count; ++trip) {
    bind(body.inputs()[0], Known{trip}, scope);
    for (std::size_t i = 0; i < carried.size(); ++i) bind(body.inputs()[i + 1], carried[i], scope);
    auto results = lower_block(body, scope);
    carried.assign(results.begin() + 1, results.end());
  }
  for (std::size_t i = 0; i < carried.size(); ++i) bind(node.output(i), carried[i], scope);
  return true;
}

void Lowering::lower_dynamic_loop(torch::jit::Node& node, const Scope& scope) {
  torch::jit::Block& body = *node.blocks()[0];
  Node loop;
  loop.kind = Node::Kind::loop;
  loop.info = {"prim::Loop", scope.module, scope.call, 1, {}, {}, depth_, position(node)};
  std::vector<TensorRef> sources;
  for (std::size_t i = 0; i < node.inputs().size(); ++i) {
    const Slot& input = slot(node.input(i), scope);
    loop.inputs.push_back(materialise_result(input));
    if (i >= 2) collect_tensors(input, sources);
  }
  Block* const outer = block_;
  const AliasTable before = aliases_;
  const auto calls_before = calls_;
  const std::size_t sites_before = program_.sites.size();
  const auto occurrences_before = *scope.occurrences;
  const std::size_t carried = node.inputs().size() - 2;
  std::vector<TensorRef> written;
  // What the body writes into tensors from outside is carried too; which these are shows when the
  // body is read, so it is read until no more are found.
  while (true) {
    aliases_ = before;
    calls_ = calls_before;
    *scope.occurrences = occurrences_before;
    program_.sites.resize(sites_before);
    loop.blocks.assign(1, {});
    Block& block = loop.blocks[0];
    block_ = &block;
    ++depth_;
    ++loop_depth_;
    block.parameters.push_back(new_value());
    bind(body.inputs()[0], Computed{block.parameters[0]}, scope);
    for (std::size_t i = 0; i < carried; ++i) {
      const ValueId id = new_value();
      block.parameters.push_back(id);
      const torch::jit::Value* parameter = body.inputs()[i + 1];
      if (parameter->type()->isSubtypeOf(*c10::TensorType::get())) {
        bind(parameter, TensorSlot{aliases_.possible_alias(id, sources)}, scope);
      } else {
        bind(parameter, computed(id, parameter->type(), false), scope);
      }
    }
    for (const TensorRef root : written) {
      const ValueId id = new_value();
      block.parameters.push_back(id);
      aliases_.replace_root(root, id);
    }
    const AliasTable start = aliases_;
    const auto results = lower_block(body, scope);
    for (const Slot& result : results) block.results.push_back(materialise_result(result));
    std::size_t known = written.size();
    for (const TensorRef root : aliases_.written_since(start)) {
      if (before.contains(root) &&
          std::find(written.begin(), written.end(), root) == written.end()) {
        written.push_back(root);
      }
    }
    if (written.size() == known) {
      for (const TensorRef root : written) block.results.push_back(aliases_.read(root, emitter()));
    }
    const AliasTable after = aliases_;
    --depth_;
    --loop_depth_;
    block_ = outer;
    if (written.size() != known) continue;
    aliases_ = before;
    aliases_.merge_unknown(after);
    break;
  }
  for (const TensorRef root : written) {
    AliasTable outside = before;
    loop.inputs.push_back(outside.read(root, emitter()));
  }
  for (std::size_t i = 0; i < carried + written.size(); ++i) loop.outputs.push_back(new_value());
  const std::vector<ValueId> outputs = loop.outputs;
  block_->nodes.push_back(std::move(loop));
  for (std::size_t i = 0; i < carried; ++i) {
    const torch::jit::Value* output = node.output(i);
    if (output->type()->isSubtypeOf(*c10::TensorType::get())) {
      bind(output, TensorSlot{aliases_.possible_alias(outputs[i], sources)}, scope);
    } else {
      bind(output, computed(outputs[i], output->type(), false), scope);
    }
  }
  for (std::size_t i = 0; i < written.size(); ++i) {
    aliases_.replace_root(written[i], outputs[carried + i]);
  }
}

}  // namespace microtome::host::torchscript
