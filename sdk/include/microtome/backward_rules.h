#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "microtome/graph.h"
#include "microtome/sample_place.h"
#include "microtome/tensor.h"

namespace [[gnu::visibility("default")]] microtome {

/// What a rule of the backward pass is given about one operator call.
struct BackwardCall {
  const GraphNode& node;
  const std::vector<c10::IValue>& arguments;  ///< as the operator got them, tensors detached
  const std::vector<at::Tensor>& outputs;     ///< what it returned, detached
  /// Gradient of the objective by each output; undefined where nothing depends on it.
  const std::vector<at::Tensor>& output_gradients;
  /// For each tensor argument, in order (lists of tensors flattened), whether the run records
  /// derivatives by it: not by parameters and other constants.
  const std::vector<bool>& recorded;
  /// Calls the operator again with other arguments, under the caller's gradient mode.
  std::function<std::vector<at::Tensor>(std::vector<c10::IValue>)> call;
  /// What the operator's own derivative would return; undefined for arguments, such as parameters,
  /// by which the run records nothing.
  std::function<std::vector<at::Tensor>()> standard;
  /// The call that made this tensor argument (counted as in `recorded`), when a rule stands for it
  /// too and nothing lies between: a rule may depend on what its argument was put together from.
  /// nullptr otherwise. Its gradients and its own derivative are not known yet.
  std::function<const BackwardCall*(std::size_t)> producer;
  /// Where the samples of the run are in a tensor argument (counted as in `recorded`), and in an
  /// output. Throws `Error` where that is not known.
  std::function<SamplePlace(std::size_t)> argument_place, output_place;
};

/// Returns what stands in place of the gradient, one entry for each tensor argument, in order
/// (lists of tensors flattened); undefined for none. [any thread; must not keep state]
using BackwardRule = std::function<std::vector<at::Tensor>(const BackwardCall&)>;

/// Backward rules by operator. Guided backpropagation, DeepLIFT and LRP are such tables. The first
/// entry that matches a call is taken; calls without an entry keep their own
/// derivative.
class BackwardRules {
 public:
  struct Entry {
    std::string operation;  ///< `aten::relu`; the in-place form is the same operator
    std::function<bool(const GraphNode&)> applies;  ///< empty: every call of the operation
    BackwardRule rule;                              ///< empty: the operator's own derivative
  };
  BackwardRules& on(std::string operation, BackwardRule rule,
                    std::function<bool(const GraphNode&)> applies = {});
  /// Calls of the operation keep their own derivative, in a table that refuses others.
  BackwardRules& keep(std::string operation);
  /// Makes the table complete: a gradient that arrives at an operator without an entry is an
  /// `Error` that names the operator, and `method`. Without this such operators keep their own
  /// derivative.
  BackwardRules& refuse_others(std::string method);
  /// Lets the rules see batch norms merged into the convolutions before them, where nothing else
  /// reads the value between.
  BackwardRules& merge_batch_norms();

  /// The rule of the first entry that matches, empty for one that is kept; nullptr without one.
  const BackwardRule* find(const GraphNode& node) const;
  bool empty() const { return entries_.empty(); }
  /// The method that refuses operators without an entry; empty when none does.
  const std::string& refusing_method() const { return refusing_method_; }
  bool merges_batch_norms() const { return merges_batch_norms_; }

 private:
  std::vector<Entry> entries_;
  std::string refusing_method_;
  bool merges_batch_norms_ = false;
};

}  // namespace microtome
