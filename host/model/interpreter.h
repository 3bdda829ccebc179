#pragma once

#include <c10/util/SmallVector.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "host/model/batch_layout.h"
#include "host/model/operator_watch.h"
#include "host/model/program.h"
#include "host/model/slice.h"
#include "microtome/model.h"

namespace microtome::host {

/// How a value is handed out: samples first, with names for its axes.
struct ValueView {
  OfSamples samples = OfSamples::each;
  SamplePlace place;
  const Axes* axes = nullptr;  ///< nullptr: not known
  std::string refusal;         ///< not empty: why it can't be handed out
};

/// What a run does at one value, besides computing it.
struct ValueActions {
  ValueId value = 0;
  ValueView view;
  /// Counts executions when the value is made in a loop; 0 means every one is meant.
  int execution = 0;
  // Most have one entry in one of these.
  c10::SmallVector<const Edit*, 1> edits;
  c10::SmallVector<std::size_t, 1> differentiate;  ///< places in `Recording::differentiated`
  c10::SmallVector<std::pair<std::size_t, const Selector*>, 1>
      captures;                            ///< places in `Recording::captured`
  c10::SmallVector<std::size_t, 1> keeps;  ///< places in `PassResult::kept`
};

/// A pass made ready for one program.
struct PreparedPass {
  std::shared_ptr<const Slice> slice;
  c10::SmallVector<ValueActions, 16> actions;
  const BackwardRules* rules = nullptr;
  const BatchLayout* layout = nullptr;  ///< of the program, for rules
  bool record = false;
  bool outputs = true;
  std::int64_t rows = 0;  ///< samples that the run is of; 0 when not known
  /// The run is of one sample that goes through the network twice, as it can't go alone.
  bool is_doubled = false;
  std::vector<ValueView> outputs_as;  ///< of the program's outputs; empty: as they are
  std::size_t captures = 0, differentiated = 0, kept = 0;
  Directions directions;
  /// Gets what is kept, and its place, as soon as it is made; without it `PassResult::kept` does.
  std::function<void(std::size_t, c10::IValue)> keep;
};

/// Values that a run begins with.
using GivenValues = std::vector<std::pair<ValueId, c10::IValue>>;

struct PassResult {
  Recording recording;
  std::vector<c10::IValue> kept;
};

/// Runs a slice of `program`. `check` is called before each operator and may throw; `watch` may be
/// nullptr. Throws `Error` naming the node at which an operator failed. [any number of threads]
PassResult interpret(const Program& program, const GivenValues& given, const PreparedPass& pass,
                     const std::function<void()>& check, OperatorWatch* watch = nullptr);

}  // namespace microtome::host
