#pragma once

#include <array>
#include <functional>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "host/model/torchscript/fused_operators.h"
#include "host/model/torchscript/slot.h"

namespace microtome::host::torchscript {

/// Turns a module's `forward` into a program: calls are inlined, what is known while loading is
/// computed, in-place operators become out-of-place, short loops are unrolled. What is resolved is
/// resolved as in evaluation with gradients.
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

  // Calls (lowering.cpp).
  std::vector<Slot> call_module(const ModuleSlot& module, const std::string& method,
                                std::vector<Slot> arguments);
  std::vector<Slot> call_graph(torch::jit::Graph& graph, std::vector<Slot> arguments,
                               const Scope& scope);
  std::vector<Slot> lower_block(torch::jit::Block& block, const Scope& scope);
  void lower_node(torch::jit::Node& node, const Scope& scope);
  void dispatch(torch::jit::Node& node, const Scope& scope);
  bool lower_call(torch::jit::Node& node, const Scope& scope);
  std::vector<Slot> call_function(const torch::jit::Node& node, torch::jit::Function& function,
                                  std::vector<Slot> arguments, const Scope& scope);
  void bind_all(const torch::jit::Node& node, const std::vector<Slot>& results, const Scope& scope);
  /// Tracing drops what a module that returns its argument got and gave; the call stands where it
  /// was made, right after the operator whose value it passed on. Gives that value the module's
  /// name.
  bool hook_traced_identity(torch::jit::Node& node, const ModuleSlot& callee, const Scope& scope);

  // Inputs and outputs (lowering_ports.cpp).
  std::vector<Slot> make_inputs(const c10::FunctionSchema& schema);
  void add_outputs(const Slot& slot, const std::string& name);

  // Attributes and objects (lowering_attributes.cpp).
  void get_attribute(torch::jit::Node& node, const Scope& scope);
  void set_attribute(torch::jit::Node& node, const Scope& scope);
  bool lower_object(torch::jit::Node& node, const Scope& scope);
  Slot slot_of_attribute(const c10::IValue& value, const c10::TypePtr& type,
                         const std::string& path);

  // Control flow (lowering_control.cpp, lowering_join.cpp, lowering_loops.cpp).
  struct State;
  struct Branch;
  State save(const Scope& scope) const;
  /// Goes back to what tensors and structures held then; nodes and hook points stay.
  void rewind(const State& state);
  void restore(const State& state, const Scope& scope);
  std::vector<std::shared_ptr<Structure>> changed_since(const State& state) const;
  void lower_if(torch::jit::Node& node, const Scope& scope);
  /// A side of a branch whose condition is not known. What is refused in it is an exception of the
  /// model there: others may never take that side.
  std::vector<Slot> lower_side(torch::jit::Block& block, const Scope& scope);
  void lower_check(torch::jit::Node& node, const Slot& condition, int raising, const Scope& scope);
  /// How a value is put together after a branch, of what it is at the end of both sides.
  std::function<Slot()> join(const Slot& left, const Slot& right, const c10::TypePtr& type,
                             Branch& branch);
  std::function<Slot()> join_parts(const std::shared_ptr<Structure>& like, Branch& branch,
                                   const std::function<std::array<Slot, 2>(std::size_t)>& sides);
  /// Whether the slot means the same outside of the branch.
  static bool is_from_before(const Slot& slot, const State& before);
  std::function<Structure::Content()> join_content(const std::shared_ptr<Structure>& structure,
                                                   const Structure::Content& left,
                                                   const Structure::Content& right, Branch& branch);
  std::function<Slot()> join_by_value(const Slot& left, const Slot& right, const c10::TypePtr& type,
                                      Branch& branch);
  void lower_loop(torch::jit::Node& node, const Scope& scope);
  bool unroll(torch::jit::Node& node, const Scope& scope);
  void lower_dynamic_loop(torch::jit::Node& node, const Scope& scope);
  struct Turns;
  /// Puts what the loop begins with into its node.
  void begin_turns(torch::jit::Node& node, const Scope& scope, Turns& turns);
  /// Reads the body; false when a list that was held to stay the same does not.
  bool read_turns(torch::jit::Node& node, const Scope& scope, Turns& turns);
  void bind_turn(torch::jit::Block& body, const Scope& scope, const Turns& turns);
  Slot carried_slot(ValueId value, const c10::TypePtr& type, const Turns& turns, std::size_t index);
  void set_whole(const std::shared_ptr<Structure>& structure, ValueId value);
  /// Whether the body, as just read, changes something outside that was not known before.
  bool find_effects(const torch::jit::Node& node, const State& before, const AliasTable& start,
                    const std::vector<Slot>& results, Turns& turns);
  void end_turns(torch::jit::Node& node, const Scope& scope, Turns& turns);
  void raise(torch::jit::Node& node, const Scope& scope);

  // What evaluation resolves (lowering_evaluation.cpp).
  bool lower_evaluation(torch::jit::Node& node, const Scope& scope);
  bool lower_dropout(torch::jit::Node& node, const Scope& scope);
  void refuse_training(const torch::jit::Node& node, const Scope& scope);
  /// Whether the value is computed from what the model is given; true where that is not known.
  bool is_of_samples(ValueId value) const;
  /// As when gradients are recorded, by the input too.
  bool would_require_gradient(const Slot& slot);
  bool set_gradients(torch::jit::Node& node, const Scope& scope);
  /// Tracing a fused operator loses the modules that it stands for. Their names are those of the
  /// parameters that the nodes from `first` on use.
  void name_by_parameters(std::size_t first);
  bool lower_fused(torch::jit::Node& node, const Scope& scope);

  // What is known (lowering_known.cpp).
  bool fold(torch::jit::Node& node, const Scope& scope);
  /// What a node gives for each of the few values that an argument may have.
  Computed fold_choices(torch::jit::Node& node, const Scope& scope) const;
  bool lower_without_effect(torch::jit::Node& node, const Scope& scope);
  bool compare_with_none(torch::jit::Node& node, const Scope& scope);
  bool check_type(torch::jit::Node& node, const Scope& scope);

  // Operators (lowering_operators.cpp).
  void lower_operator(torch::jit::Node& node, const Scope& scope);
  void lower_mutation(torch::jit::Node& node, const Scope& scope);
  void bind_results(torch::jit::Node& node, const Scope& scope,
                    const std::vector<ValueId>& arguments, const Operation& call,
                    const std::vector<ValueId>& results);
  Slot result_slot(torch::jit::Node& node, std::size_t index, const Scope& scope,
                   const std::vector<ValueId>& arguments, const Operation& call, ValueId value);
  /// The hook of an operator's value, counted among its like in this call of the module.
  HookPoint operation_hook(const std::string& operation, std::size_t made_at);

  // Containers (lowering_containers.cpp, lowering_changes.cpp).
  bool lower_container(torch::jit::Node& node, const Scope& scope);
  bool construct(torch::jit::Node& node, const Scope& scope);
  bool read_container(torch::jit::Node& node, const Scope& scope);
  bool combine_lists(torch::jit::Node& node, const Scope& scope);
  void unpack(torch::jit::Node& node, const Scope& scope);
  bool get_item(torch::jit::Node& node, const Scope& scope);
  Slot element_of(const ViewListSlot& list, std::int64_t index);
  bool lower_change(torch::jit::Node& node, const Scope& scope);
  bool change_elements(torch::jit::Node& node, const std::shared_ptr<Structure>& target,
                       const Scope& scope);
  bool change_dictionary(torch::jit::Node& node, const std::shared_ptr<Structure>& target,
                         const Scope& scope);
  void change_whole(torch::jit::Node& node, const std::shared_ptr<Structure>& target,
                    const Scope& scope);

  // Structures (lowering_structures.cpp).
  std::shared_ptr<Structure> make(Structure::Kind kind, c10::TypePtr type,
                                  std::vector<Slot> elements = {});
  /// The content, about to be changed; remembered where the change may have to be undone.
  Structure::Content& change(const std::shared_ptr<Structure>& structure);
  void fix(const std::shared_ptr<Structure>& structure, const std::string& why);
  void fix(const Slot& slot, const std::string& why);
  /// The slot, about to become an element of something that lives longer.
  Slot hold(const Slot& slot);
  /// A value that is known, as a slot; containers become structures.
  Slot slot_of(const c10::IValue& value, const c10::TypePtr& type);
  ValueId materialise_structure(const Structure& structure, const std::string& holder);

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
  /// The slot of a computed value of the model's type `type`. `fresh`: nothing else holds it.
  Slot computed(ValueId value, const c10::TypePtr& type, bool fresh);
  ValueId new_value() { return program_.value_count++; }
  std::vector<ValueId> emit(const std::string& operation, Operation call,
                            std::vector<ValueId> inputs, std::size_t outputs);
  ValueId identity(ValueId value);
  /// Where gradients are off, the value without its history.
  ValueId without_gradient(ValueId value);
  TensorRef tensor_constant(const at::Tensor& value, const std::string& name);
  void add_site(HookPoint name, const Slot& slot, const std::string& operation);
  void add_module_sites(const std::string& path, int call, HookPoint::Slot kind,
                        std::vector<Slot>& slots, const std::string& type);
  /// Tensors get a name of their own at a module's border, so that a replacement is seen on one
  /// side alone.
  void separate(Slot& slot, std::int32_t made_since);
  void collect_tensors(const Slot& slot, std::vector<TensorRef>& tensors) const;
  AliasTable::Emitter emitter();
  [[noreturn]] void refuse(const torch::jit::Node& node, const std::string& why) const;
  static std::string position(const torch::jit::Node& node);
  /// Module and operator, with the position.
  std::string place(const torch::jit::Node& node) const;

  struct Change {
    std::shared_ptr<Structure> structure;
    Structure::Content before;
  };

  torch::jit::Module root_;
  Program program_;
  FusedOperators fused_;
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

  bool ended_ = false;  ///< the model has raised an exception: what comes after it never runs
  std::string last_raised_;
  std::string refused_;    ///< the first thing that is not supported, in a branch
  bool gradients_ = true;  ///< off within `torch.no_grad`
  ValueId gradients_off_since_ = 0;
  std::int64_t structures_ = 0;
  int tries_ = 0;  ///< how many readings of branches and loops may have to be undone
  std::vector<Change> changes_;
  /// Attributes that the model sets while it runs, by their module, as an object each.
  std::map<const void*, std::map<std::string, Slot>> set_attributes_;
  std::map<const void*, std::map<std::string, std::string>> read_attributes_;
};

/// What a node's operator does; operators with any number of arguments are told how many.
Operation operation_of(const torch::jit::Node& node);

}  // namespace microtome::host::torchscript
