#pragma once

#include "host/model/program.h"

namespace microtome::host {

/// Sees each operator of a run begin and end. [any number of threads]
class OperatorWatch {
 public:
  virtual ~OperatorWatch() = default;
  virtual void begin(const Node& node) = 0;
  virtual void end(const Node& node) = 0;
};

}  // namespace microtome::host
