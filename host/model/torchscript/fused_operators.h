#pragma once

#include <torch/csrc/jit/api/compilation_unit.h>

#include <memory>
#include <string>

namespace microtome::host::torchscript {

/// Operators that PyTorch fuses for speed when gradients are off, as functions of ordinary
/// operators: those have gradients, and can be hooked. [one thread]
class FusedOperators {
 public:
  /// A function with the operator's arguments and results; nullptr for all other operators.
  torch::jit::Function* parts_of(const std::string& operation);

 private:
  std::shared_ptr<torch::jit::CompilationUnit> functions_;
};

}  // namespace microtome::host::torchscript
