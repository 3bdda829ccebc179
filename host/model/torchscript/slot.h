#pragma once

#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/ir/ir.h>

#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "host/model/torchscript/alias_table.h"

namespace microtome::host::torchscript {

struct Structure;

/// A value that the program computes and that is neither a tensor nor a container.
struct Computed {
  ValueId id = 0;
  /// The values that it may have, where they are few (a branch chose one); else empty.
  std::vector<c10::IValue> choices;
  /// The choices are lower bounds: texts that are at least as long, numbers at least as large.
  bool at_least = false;
};
/// Known while the model is loaded. Never a list, dictionary or object: those can change.
struct Known {
  c10::IValue value;
};
/// A tensor, by its number in the alias table.
struct TensorSlot {
  TensorRef tensor = 0;
  bool may_be_none = false;  ///< whether it is None shows when the program runs
};
/// A submodule, with its path.
struct ModuleSlot {
  torch::jit::Module module;
  std::string path;
};
/// A function of the model's code.
struct FunctionSlot {
  torch::jit::Function* function = nullptr;
};
/// What `split`, `chunk` and their like return: views of one tensor.
struct ViewListSlot {
  TensorRef base = 0;
  ViewStep step;
  ValueId list = 0;
  std::optional<std::int64_t> count;  ///< where the arguments tell it
};

/// What a value of the model's code is, while it is turned into a program. Nothing for one that is
/// never read.
using Slot = std::variant<std::monostate, Computed, Known, TensorSlot, ModuleSlot, FunctionSlot,
                          ViewListSlot, std::shared_ptr<Structure>>;

/// A tuple, list, dictionary or object of a class. Shared by all its names, as in the model's code.
struct Structure {
  enum class Kind { tuple, list, dictionary, object };
  /// What may change.
  struct Content {
    std::vector<Slot> elements;
    std::vector<c10::IValue> keys;  ///< of a dictionary
    /// The list or dictionary as a value of the program, when its elements are not known one by
    /// one. Such values never change: a change makes another.
    std::optional<ValueId> whole;
    std::string fixed;  ///< not empty: why changing it is refused
    bool held = false;  ///< an element of another list, dictionary or object
  };
  Kind kind = Kind::tuple;
  c10::TypePtr type;
  std::vector<std::string> names;  ///< of a named tuple's fields or an object's attributes
  std::int64_t serial = 0;         ///< counts structures in the order in which they were made
  Content content;
};

/// The type of each element; for tuples and objects that of element `index`.
c10::TypePtr element_type(const Structure& structure, std::size_t index);
/// The value, when all of it is known while loading; containers are copied.
std::optional<c10::IValue> known_value(const Slot& slot);
/// Sets a key of a dictionary, a new one at the end.
void set_key(Structure::Content& dictionary, const c10::IValue& key, Slot value);
/// None, a number, a text or a device; nullptr for all else.
const c10::IValue* known_plain(const Slot& slot);
bool is_known_none(const Slot& slot);
/// Whether values of the type are tensors, or tensors and None.
bool is_tensor_type(const c10::TypePtr& type);
bool is_optional_tensor_type(const c10::TypePtr& type);

}  // namespace microtome::host::torchscript
