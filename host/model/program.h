#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "microtome/graph.h"
#include "microtome/hook_point.h"
#include "microtome/tensor.h"

namespace microtome::host {

/// Values are numbered from 0 in each program; constants are -1, -2, ...
using ValueId = std::int32_t;
using Stack = std::vector<c10::IValue>;
/// Takes its arguments from the end of the stack and leaves its results there.
using Operation = std::function<void(Stack&)>;

struct Node;

struct Block {
  std::vector<ValueId> parameters;
  std::vector<Node> nodes;
  std::vector<ValueId> results;
};

/// One step. Every value is written once: what was in place in the model is out of place here.
struct Node {
  enum class Kind {
    operation,
    identity,  ///< gives a value another name, so that it can be replaced for some readers alone
    branch,    ///< inputs: condition; blocks: then, else
    loop,      ///< inputs: most trips, condition, carried...; block: trip, carried... -> condition,
               ///< carried...
    raise,     ///< the model's own exception
  };
  Kind kind = Kind::operation;
  GraphNode info;  ///< inputs and outputs there are the same ids
  std::vector<ValueId> inputs;
  std::vector<ValueId> outputs;
  Operation call;
  /// The same, leaving its result in its first argument's memory; empty when there is none such.
  Operation call_in_place;
  std::vector<Block> blocks;
  std::vector<ValueId> last_uses;  ///< values of the same block that nothing reads afterwards
};

/// A place where a value can be hooked.
struct HookSite {
  HookPoint name;  ///< without selector
  ValueId value = 0;
  std::string operation;  ///< what makes it
  bool tensor = true;
  bool in_loop = false;  ///< made in a loop: `@k` is the k-th time
  bool is_gone = false;  ///< a plan has put something else in the value's place
};

struct ProgramPort {
  std::string name;
  ValueId value = 0;
  bool optional = false;  ///< an input that need not be given, an output that may be None
};

/// A parameter or buffer of the model, by its path.
struct ProgramParameter {
  std::string name;  ///< `layer1.0.conv1.weight`
  ValueId constant = 0;
  bool is_buffer = false;
};

/// A model as its operators in execution order, whatever it was loaded from.
struct Program {
  Block body;
  std::int32_t value_count = 0;
  std::vector<c10::IValue> constants;
  std::vector<ProgramParameter> parameters;
  std::vector<ProgramPort> inputs;
  std::vector<ProgramPort> outputs;
  std::vector<HookSite> sites;
  /// Values of four dimensions may lie in memory with their channels last.
  bool channels_last = false;
  /// Gradients along a line may go back through its affine beginning once, see
  /// `Model::affine_prefix`.
  bool shares_affine_prefix = false;
  /// What is the same for all samples since an edit made it so is computed on one row.
  bool computes_equal_rows_once = false;
  /// A batch is meant as a whole: what is given for a sample may depend on the others.
  bool samples_may_mix = false;
  /// Of real values inside, when it is not that of inputs and outputs.
  std::optional<at::ScalarType> reduced_precision;

  const c10::IValue& constant(ValueId id) const {
    return constants[static_cast<std::size_t>(-id - 1)];
  }
};

/// Fills `last_uses`, so that a run keeps no value longer than it is read. Call when
/// complete.
void find_last_uses(Program& program);

/// Adds `(x - mean) / std` by channel before the input at this place: hook point `pixels` before,
/// the hook points of the input after. `mean` and `std` are [C] of the type that pixels have.
void add_normalisation(Program& program, std::size_t input, const at::Tensor& mean,
                       const at::Tensor& std);

/// Moves the constants.
void move_to(Program& program, at::Device device);

}  // namespace microtome::host
