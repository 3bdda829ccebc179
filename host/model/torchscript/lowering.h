#pragma once

#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "host/model/torchscript/slot.h"

namespace microtome::host::torchscript {

/// Turns a module's `forward` into a program: calls are inlined, what is known while loading is
/// computed, in-place operators become out-of-place, constant loops are unrolled.
class Lowering {
 public:
  explicit Lowering(const torch::jit::Module& root);
  /// Throws `Error` naming the node that can't be kept.
  Program run();

 private:
  using Environment = std::unordered_map<const torch::jit::Value*, Slot>;

  /// Where the code that is being read stands.
  struct Scope {
    std::string module;
    int call = 1;
    Environment* environment = nullptr;
    std::map<std::string, int>* occurrences = nullptr;
  };

  // Calls and control flow (lowering.cpp).
  std::vector<Slot> call_module(const ModuleSlot& module, const std::string& method,
                                std::vector<Slot> arguments);
  std::vector<Slot> call_graph(torch::jit::Graph& graph, std::vector<Slot> arguments,
                               const Scope& scope);
  std::vector<Slot> lower_block(torch::jit::Block& block, const Scope& scope);
  void lower_node(torch::jit::Node& node, const Scope& scope);
  void lower_if(torch::jit::Node& node, const Scope& scope);
  void lower_loop(torch::jit::Node& node, const Scope& scope);
  bool unroll(torch::jit::Node& node, const Scope& scope);
  void lower_dynamic_loop(torch::jit::Node& node, const Scope& scope);
  /// Tracing drops what a module that returns its argument got and gave; the call stands where it
  /// was made, right after the operator whose value it passed on. Gives that value the module's
  /// name.
  bool hook_traced_identity(torch::jit::Node& node, const ModuleSlot& callee, const Scope& scope);
  void get_attribute(torch::jit::Node& node, const Scope& scope);
  void raise(torch::jit::Node& node, const Scope& scope);
  void add_outputs(const Slot& slot, const std::string& name);

  // Operators (lowering_operators.cpp).
  void lower_operator(torch::jit::Node& node, const Scope& scope);
  void lower_mutation(torch::jit::Node& node, const Scope& scope);
  bool fold(torch::jit::Node& node, const Scope& scope);
  bool lower_without_effect(torch::jit::Node& node, const Scope& scope);
  void bind_results(torch::jit::Node& node, const Scope& scope,
                    const std::vector<ValueId>& arguments, const Operation& call,
                    const std::vector<ValueId>& results);

  // Containers (lowering_containers.cpp).
  bool lower_container(torch::jit::Node& node, const Scope& scope);
  bool lower_list_change(torch::jit::Node& node, const Scope& scope);
  void unpack(torch::jit::Node& node, const Scope& scope);
  bool get_item(torch::jit::Node& node, const Scope& scope);
  bool changed_in_other_block(const torch::jit::Value& list) const;
  Slot element_of(const ViewListSlot& list, std::int64_t index, const Scope& scope);

  // Values (lowering_values.cpp).
  Slot& slot(const torch::jit::Value* value, const Scope& scope);
  void bind(const torch::jit::Value* value, Slot slot, const Scope& scope);
  ValueId constant(const c10::IValue& value);
  /// The slot's value in the program. `holder`: what keeps it, or empty when it is only read.
  ValueId materialise(const Slot& slot, const std::string& holder = {});
  /// For values that enter or leave a branch or loop: containers hold their tensors there.
  ValueId materialise_result(const Slot& slot) {
    return materialise(slot, std::holds_alternative<TensorSlot>(slot) ? "" : "a branch or loop");
  }
  ValueId materialise_structure(const Structure& structure, const std::string& holder);
  /// The slot of a computed value of the model's type `type`.
  Slot computed(ValueId value, const c10::TypePtr& type, bool fresh);
  ValueId new_value() { return program_.value_count++; }
  std::vector<ValueId> emit(const std::string& operation, Operation call,
                            std::vector<ValueId> inputs, std::size_t outputs);
  ValueId identity(ValueId value);
  TensorRef tensor_constant(const at::Tensor& value, const std::string& name);
  void add_site(HookPoint name, const Slot& slot, const std::string& operation);
  void add_module_sites(const std::string& path, int call, HookPoint::Slot kind,
                        std::vector<Slot>& slots, const std::string& type);
  /// Tensors get a name of their own at a module's border, so that a replacement is seen on one
  /// side alone.
  void separate(Slot& slot, std::int32_t made_since);
  AliasTable::Emitter emitter();
  void collect_tensors(const Slot& slot, std::vector<TensorRef>& tensors) const;
  [[noreturn]] void refuse(const torch::jit::Node& node, const std::string& why) const;
  /// File, line and column in the model's own source; empty when it has none.
  static std::string position(const torch::jit::Node& node);
  /// Module and operator, with the position.
  std::string place(const torch::jit::Node& node) const;

  torch::jit::Module root_;
  Program program_;
  AliasTable aliases_;
  Block* block_ = nullptr;  ///< where nodes are added
  int depth_ = 0;
  int loop_depth_ = 0;
  std::map<std::string, int> calls_;
  std::unordered_map<const void*, ValueId> parameters_;  ///< constants by the tensor they hold
  std::vector<std::pair<std::string, int>> call_stack_;
  Scope current_;
  std::string source_;
  std::int64_t node_count_ = 0;
};

}  // namespace microtome::host::torchscript
