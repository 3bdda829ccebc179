#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace [[gnu::visibility("default")]] microtome {

/// One operator call of a model, read-only. Value ids are the model's own; a value has one
/// producer.
struct GraphNode {
  std::string operation;  ///< `aten::conv2d`
  std::string module;     ///< path of the module whose code made the call
  int call = 1;           ///< which call of that module
  int occurrence = 1;     ///< which such operation in that call
  std::vector<std::int64_t> inputs;
  std::vector<std::int64_t> outputs;
  int depth = 0;       ///< 0, or how many branches and loops enclose it
  std::string source;  ///< file and line in the model's own source, where it has them
};

/// A model's operators in execution order.
struct Graph {
  std::vector<GraphNode> nodes;
};

}  // namespace microtome
