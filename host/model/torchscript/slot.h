#pragma once

#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/ir/ir.h>

#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "host/model/torchscript/alias_table.h"

namespace microtome::host::torchscript {

struct Structure;

/// A value that the program computes and that is no tensor.
struct Computed {
  ValueId id = 0;
};
/// Known while the model is loaded.
struct Known {
  c10::IValue value;
};
/// A tensor, by its number in the alias table.
struct TensorSlot {
  TensorRef tensor = 0;
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
};

/// What a value of the model's code is, while it is turned into a program.
using Slot = std::variant<std::monostate, Computed, Known, TensorSlot, ModuleSlot, FunctionSlot,
                          ViewListSlot, std::shared_ptr<Structure>>;

/// A tuple, list or dictionary whose elements are known one by one. Shared, as in the model's code.
struct Structure {
  enum class Kind { tuple, list, dictionary };
  Kind kind = Kind::tuple;
  c10::TypePtr type;
  std::vector<Slot> elements;
  std::vector<std::string> names;  ///< of a dictionary's keys or a named tuple's fields
  int depth = 0;                   ///< of the branches and loops that it was made in
};

}  // namespace microtome::host::torchscript
