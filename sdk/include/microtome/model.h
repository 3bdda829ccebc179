#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "microtome/axes.h"
#include "microtome/backward_rules.h"
#include "microtome/graph.h"
#include "microtome/hook_point.h"
#include "microtome/sample_place.h"
#include "microtome/tensor.h"

namespace [[gnu::visibility("default")]] microtome {

/// Tensors by name, in an order. Names are unique.
class NamedTensors {
 public:
  NamedTensors() = default;
  NamedTensors(std::initializer_list<std::pair<std::string, at::Tensor>> entries);
  void set(const std::string& name, at::Tensor value);
  const at::Tensor* find(std::string_view name) const;
  /// Throws `Error` listing the names that exist.
  const at::Tensor& at(std::string_view name) const;
  std::size_t size() const { return entries_.size(); }
  bool empty() const { return entries_.empty(); }
  auto begin() const { return entries_.begin(); }
  auto end() const { return entries_.end(); }

 private:
  std::vector<std::pair<std::string, at::Tensor>> entries_;
};

/// Replaces a value while the model runs.
struct Edit {
  HookPoint at;
  /// Gets the selected part of the value and returns what stands in its place; returning the very
  /// tensor that it got changes nothing, to the last bit. Must return the same type, and the same
  /// shape or one entry along its first dimension, which then stands for all of them.
  std::function<at::Tensor(const at::Tensor&)> apply = {};
  /// What stands there whatever was there before, in place of `apply`; in any memory format. One
  /// entry along the first dimension stands for all, as above.
  at::Tensor value = {};
};

/// Gives the vector that a selector with a direction means; see `Context::directions`.
using Directions = std::function<at::Tensor(const DirectionReference&)>;

/// The state of a run at a cut: the values there, and those that pass it by. Runs can go on from it
/// any number of times. Shares tensors. [immutable; any number of threads]
class Snapshot {
 public:
  virtual ~Snapshot();
  /// How many samples it holds.
  virtual std::int64_t rows() const = 0;
  /// The state of these of its samples, [M] int64, in this order and as often as they stand there.
  /// Throws `Error` where that can't be known from the values' shapes.
  virtual std::shared_ptr<const Snapshot> select(const at::Tensor& rows) const = 0;
  /// `times` copies of all samples, one copy after the other.
  std::shared_ptr<const Snapshot> repeated(std::int64_t times) const;
};

/// What is wanted of one run of a model.
struct Pass {
  std::vector<HookPoint> capture;        ///< values to return; a selector takes a part
  std::vector<Edit> edits;               ///< applied in this order where they meet
  std::vector<HookPoint> differentiate;  ///< values by which gradients will be asked; no selectors
  BackwardRules rules;
  /// Whether the run is recorded for gradients by the inputs or by what the edits bring in,
  /// although `differentiate` is empty.
  bool record_gradients = false;
  Directions directions = {};  ///< needed when a selector above names a direction
  /// Whether the model's outputs are wanted. Without them a run ends after the last hook point.
  bool outputs = true;
  /// Cuts, each at some hook points without selectors, whose snapshots are wanted.
  std::vector<std::vector<HookPoint>> cuts = {};
};

/// What a run gave. Value type; keeps the recorded graph alive while it lives.
///
/// Wherever the network keeps its samples, each value has them first here: N x positions x ... of a
/// value that is positions x N x ... or (N positions) x ... in the network. A value that is the
/// same for all samples is handed out for each of them. Edits get and return values like that.
struct Recording {
  NamedTensors outputs;  ///< the model's outputs by name
  /// Outputs that are not handed out, as their samples can't be told apart, and why.
  std::vector<std::pair<std::string, std::string>> refused_outputs;
  std::vector<at::Tensor> captured;        ///< in the order of `Pass::capture`
  std::vector<Axes> axes;                  ///< of `captured`, after N
  std::vector<at::Tensor> differentiated;  ///< in the order of `Pass::differentiate`
  std::vector<std::shared_ptr<const Snapshot>> snapshots;  ///< in the order of `Pass::cuts`

  /// The output called `name`; when that is empty, the only one (`Error` where there are several).
  const at::Tensor& output(const std::string& name = {}) const;
  /// Gradients of the sum of `objective` by the values at `Pass::differentiate`, zeros where the
  /// objective does not depend on one. With `create_graph` they can be differentiated again. The
  /// recording can be asked again when `keep` is set.
  std::vector<at::Tensor> gradients(const at::Tensor& objective, bool keep = false,
                                    bool create_graph = false) const;
};

/// What a value of a model has to do with the samples of a run.
enum class OfSamples {
  not_known,  ///< the model has not been tried yet, or the value's samples can't be told apart
  each,       ///< it holds something for each
  none,       ///< it is the same whatever the samples, as positions that are added to all
};

/// A hook point that exists in a model.
struct HookPointInfo {
  std::string name;       ///< as a user writes it
  std::string operation;  ///< what makes it: a module's type or an operator
  bool tensor = true;     ///< false for a value that is not a tensor (its parts are `:out[k]`)
  at::ScalarType type = at::kFloat;
  /// As it is handed out for one sample, 1 first; empty when not known.
  std::vector<std::int64_t> shape = {};
  bool can_cut = true;  ///< whether a run can go on from here: not in a branch or loop
  Axes axes = {};       ///< of `shape` after its first; empty while the shape is not known
  OfSamples samples = OfSamples::not_known;
  SamplePlace place = {};    ///< where the samples are in the network's own tensor
  std::string refusal = {};  ///< not empty: why the value can't be handed out sample by sample

  /// Of the value on one sample; 0 when its shape is not known.
  double bytes() const;
};

/// What is said about the input of a model with one.
struct ModelInput {
  std::vector<std::int64_t> size;  ///< of one sample, without N; empty when not said
  std::vector<double> mean, std;   ///< by channel; empty: nothing is normalised inside
};

/// An input or output of a model.
struct PortInfo {
  std::string name;
  at::ScalarType type = at::kFloat;
  std::vector<std::int64_t> shape;  ///< without N; empty when not known
};

/// A network that was given. Evaluation mode; its parameters never change and carry no gradients.
/// Implemented by the host. [any number of threads]
class Model {
 public:
  virtual ~Model();
  virtual const std::vector<PortInfo>& inputs() const = 0;
  virtual const std::vector<PortInfo>& outputs() const = 0;
  virtual const Graph& graph() const = 0;
  /// All hook points in execution order.
  virtual std::vector<HookPointInfo> hook_points() const = 0;
  /// What is known of one; throws `Error` with near names when there is none such.
  virtual HookPointInfo resolve(const HookPoint& hook) const = 0;
  /// Whether images enter as pixels in 0..1 and are normalised inside (hook points `pixels`,
  /// `input`).
  virtual bool normalises() const = 0;
  /// Maps pixels in 0..1 to model space; the identity for a model that does not normalise.
  virtual at::Tensor normalise(const at::Tensor& pixels) const = 0;
  /// How many samples a run may have: 1 for a network that was traced for one.
  virtual std::int64_t most_samples() const;
  /// Runs it. Inputs are by name, N first in each. Gradients are recorded only where the pass asks.
  virtual Recording run(const NamedTensors& inputs, const Pass& pass) const = 0;
  /// Goes on from a snapshot of this model: computes what comes after the cut, nothing else. Edits,
  /// captures and derivatives are at the cut or after it. `Error` otherwise.
  virtual Recording resume(const Snapshot& from, const Pass& pass) const = 0;
  /// Whether the value at `later` is computed from the one at `from`. Where it is not, nothing that
  /// is done at `from` changes it, and a run that goes on from there can't capture it.
  virtual bool is_computed_from(const HookPoint& later, const HookPoint& from) const = 0;
  /// The last hook point whose value is an affine function of the value at `from` and through which
  /// alone all that comes later depends on it (behind a first convolution and its batch norm, say):
  /// a straight line at `from` is a straight line there, and gradients by it become gradients by
  /// `from` through one constant linear map. Nothing when there is none, or where `runtime:
  /// {affine_prefix: false}` forbids it.
  virtual std::optional<HookPoint> affine_prefix(const HookPoint& from) const;
  /// Parameters and buffers by path (`layer1.0.conv1.weight`), in the order of the model's modules.
  /// Empty for a model that was frozen before it was saved.
  virtual NamedTensors parameters() const;
  /// The same network with these values in place of its own, each of the same shape and type; the
  /// others are shared. `Error` for a name that it does not have, or when it has none.
  virtual std::shared_ptr<const Model> with_parameters(const NamedTensors& values) const;
};

}  // namespace microtome
