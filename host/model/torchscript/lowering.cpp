#include "host/model/torchscript/lowering.h"

#include <limits>

#include "host/support/plain_reason.h"

namespace microtome::host::torchscript {

namespace prim = c10::prim;

namespace {
constexpr std::size_t deepest_call = 200;
constexpr std::int64_t most_nodes = 200'000;
}  // namespace

Lowering::Lowering(const torch::jit::Module& root) : root_(root) {}

Program Lowering::run() {
  block_ = &program_.body;
  const auto method = root_.find_method("forward");
  if (!method) throw Error("the module has no method `forward`");
  std::vector<Slot> inputs = make_inputs(method->function().getSchema());
  const auto outputs = call_module({root_, ""}, "forward", std::move(inputs));
  if (ended_) {
    if (!refused_.empty()) throw Error(refused_);
    throw Error("whatever its input, the model raises an exception: " + last_raised_ +
                ". Save it with settings with which it runs in PyTorch");
  }
  if (outputs.size() != 1) throw Error("`forward` returns nothing");
  add_outputs(outputs[0], "");
  if (program_.outputs.empty()) throw Error("`forward` returns no tensor");
  if (program_.inputs.empty())
    throw Error("`forward` takes no tensor, so no sample can be given to the network");
  for (const ProgramPort& output : program_.outputs) {
    HookPoint name;
    name.module = program_.outputs.size() == 1 ? "output" : "output." + output.name;
    program_.sites.push_back({std::move(name), output.value, "output", true, false});
  }
  find_last_uses(program_);
  return std::move(program_);
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
  for (torch::jit::Node* node : block.nodes()) {
    lower_node(*node, scope);
    if (ended_) return {};
  }
  std::vector<Slot> results;
  for (const torch::jit::Value* output : block.outputs()) results.push_back(slot(output, scope));
  return results;
}

void Lowering::lower_node(torch::jit::Node& node, const Scope& scope) {
  if (++node_count_ > most_nodes)
    throw Error("the model has more than 200,000 operators when loops are written out");
  const std::string before = source_;
  if (const std::string where = position(node); !where.empty()) source_ = where;
  try {
    dispatch(node, scope);
  } catch (Error& error) {
    if (error.where().empty()) error.add_where(place(node));
    throw;
  } catch (const std::exception& error) {
    Error mine(plain_reason(error));
    mine.add_where(place(node));
    throw mine;
  }
  source_ = before;
}

void Lowering::dispatch(torch::jit::Node& node, const Scope& scope) {
  const auto kind = node.kind();
  if (kind == prim::GetAttr) return get_attribute(node, scope);
  if (kind == prim::SetAttr) return set_attribute(node, scope);
  if (kind == prim::If) return lower_if(node, scope);
  if (kind == prim::Loop) return lower_loop(node, scope);
  if (kind == prim::RaiseException) return raise(node, scope);
  if (lower_call(node, scope) || lower_object(node, scope) || lower_container(node, scope) ||
      lower_evaluation(node, scope) || lower_without_effect(node, scope) || fold(node, scope))
    return;
  lower_operator(node, scope);
}

void Lowering::bind_all(const torch::jit::Node& node, const std::vector<Slot>& results,
                        const Scope& scope) {
  if (ended_) return;
  for (std::size_t i = 0; i < node.outputs().size(); ++i)
    bind(node.output(i), results.at(i), scope);
}

std::vector<Slot> Lowering::call_function(const torch::jit::Node& node,
                                          torch::jit::Function& function,
                                          std::vector<Slot> arguments, const Scope& scope) {
  auto* graph_function = torch::jit::tryToGraphFunction(function);
  if (graph_function == nullptr)
    refuse(node, "it calls \"" + function.name() + "\", a function that is not TorchScript");
  return call_graph(*graph_function->graph(), std::move(arguments), scope);
}

bool Lowering::lower_call(torch::jit::Node& node, const Scope& scope) {
  const auto kind = node.kind();
  const auto arguments = [&](std::size_t first) {
    std::vector<Slot> slots;
    for (std::size_t i = first; i < node.inputs().size(); ++i)
      slots.push_back(slot(node.input(i), scope));
    return slots;
  };
  if (kind == prim::CallFunction) {
    const auto* function = std::get_if<FunctionSlot>(&slot(node.input(0), scope));
    if (function == nullptr) refuse(node, "it calls a function that is not known while loading");
    bind_all(node, call_function(node, *function->function, arguments(1), scope), scope);
    return true;
  }
  // What is forked is computed at once.
  if (kind == prim::fork) {
    bind_all(node, call_graph(*node.g(c10::attr::Subgraph), arguments(0), scope), scope);
    return true;
  }
  if (kind == c10::aten::wait) {
    bind(node.output(), slot(node.input(0), scope), scope);
    return true;
  }
  if (kind != prim::CallMethod) return false;
  const Slot owner = slot(node.input(0), scope);
  const std::string& name = node.s(c10::attr::name);
  if (const auto* module = std::get_if<ModuleSlot>(&owner)) {
    if (node.inputs().size() == 1 && hook_traced_identity(node, *module, scope)) return true;
    bind_all(node, call_module(*module, name, arguments(1)), scope);
    return true;
  }
  const auto* object = std::get_if<std::shared_ptr<Structure>>(&owner);
  const auto type = object != nullptr ? (*object)->type->cast<c10::ClassType>() : nullptr;
  auto* method = type ? type->findMethod(name) : nullptr;
  if (method == nullptr) {
    refuse(node, "it calls the method \"" + name +
                     "\" of an object that is neither a module nor of a TorchScript class");
  }
  bind_all(node, call_function(node, *method, arguments(0), scope), scope);
  return true;
}

bool Lowering::hook_traced_identity(torch::jit::Node& node, const ModuleSlot& callee,
                                    const Scope& scope) {
  // A helper method without arguments that returns a constant looks alike, but has a value.
  const std::string& name = node.s(c10::attr::name);
  const auto method = callee.module.find_method(name);
  if (!method || name.rfind("forward", 0) != 0 ||
      node.output()->type()->kind() != c10::TypeKind::NoneType)
    return false;
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

}  // namespace microtome::host::torchscript
