#pragma once

#include <ostream>
#include <string>
#include <vector>

namespace microtome::testing {

/// A pipeline with a mistake, and what must be said about it.
struct BrokenPipeline {
  std::string name;
  std::string text;
  std::string message;  ///< part of it
  int line = 0, column = 0;
  std::vector<std::string> overrides;

  friend std::ostream& operator<<(std::ostream& stream, const BrokenPipeline& pipeline) {
    return stream << pipeline.name;
  }
};

/// `$MODEL` and `$DATA` in texts stand for a model and an image folder that exist.
std::vector<BrokenPipeline> broken_pipelines();

}  // namespace microtome::testing
