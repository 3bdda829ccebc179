#pragma once

#include <string>
#include <vector>

#include "microtome/model.h"

namespace [[gnu::visibility("default")]] microtome {

/// A network that a stage makes, as TorchScript says it: the host writes it as a file that
/// `torch::jit::load` opens, and uses it like any other model. Value type.
///
/// `forward` is the body of a method in TorchScript, which calls children by name:
///   "def forward(self, x):\n  return torch.relu(self.conv(x))\n"
struct ScriptModule {
  std::string type;     ///< its class, e.g. `Conv2d`
  std::string forward;  ///< source of the method
  NamedTensors parameters;
  NamedTensors buffers;  ///< such as the running mean of batch norm
  struct Child;
  std::vector<Child> children;
  ModelInput input;  ///< of the outermost one: what it takes
};
struct ScriptModule::Child {
  std::string name;
  ScriptModule module;
};

}  // namespace microtome
