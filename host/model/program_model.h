#pragma once

#include <algorithm>
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <shared_mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "host/model/axes/value_axes.h"
#include "host/model/batch_layout.h"
#include "host/model/declared_inputs.h"
#include "host/model/input_use.h"
#include "host/model/interpreter.h"
#include "host/model/plan/plan.h"
#include "host/model/program.h"
#include "microtome/model.h"
#include "microtome/value.h"

namespace microtome::host {

/// A program as the SDK's model. [any number of threads]
class ProgramModel final : public Model, public std::enable_shared_from_this<ProgramModel> {
 public:
  /// Throws `Error` where more than one input is to be normalised.
  ProgramModel(std::string name, Program program, const DeclaredInputs& inputs, at::Device device);

  const std::vector<PortInfo>& inputs() const override { return inputs_; }
  const std::vector<PortInfo>& outputs() const override;
  /// The operators as they were given, whatever the plan.
  const Graph& graph() const override { return origin_ != nullptr ? origin_->graph() : graph_; }
  std::vector<HookPointInfo> hook_points() const override;
  HookPointInfo resolve(const HookPoint& hook) const override;
  bool normalises() const override { return mean_.defined(); }
  at::Tensor normalise(const at::Tensor& pixels) const override;
  Recording run(const NamedTensors& inputs, const Pass& pass) const override;
  Recording resume(const Snapshot& from, const Pass& pass) const override;
  bool is_computed_from(const HookPoint& later, const HookPoint& from) const override;
  std::optional<HookPoint> affine_prefix(const HookPoint& from) const override;
  NamedTensors parameters() const override;
  std::shared_ptr<const Model> with_parameters(const NamedTensors& values) const override;

  /// The same network by a plan in which the values at `hooks` are made as they were. Plans that
  /// compute alike are one object while one of them lives. Passes with backward rules run the
  /// operators that were given.
  std::shared_ptr<const ProgramModel> planned(const std::vector<HookPoint>& hooks,
                                              const PlanSettings& allowed) const;
  const PlanReport& plan_report() const { return report_; }

  /// Bytes that a pass holds at its peak for each sample; nothing when there are no example inputs.
  /// Runs the network on a few samples the first time.
  std::optional<double> bytes_per_sample(const Pass& pass) const;

  /// Why the network takes one sample at a time, "takes one ...", and what a user can do; empty
  /// where it takes more.
  std::string one_at_a_time() const;
  /// Whether what it gives for a sample depends on the samples beside it.
  bool mixes_samples() const;
  /// How the network fails on its example inputs; empty where it does not, or where there are none.
  std::string failure() const;

  /// Samples to try the network on, one tensor for each of the program's inputs with `rows` rows
  /// that differ from one another, of the inputs' types: real samples where the model was given
  /// some (`fed`), else made ones, among them valid token ids. An input that may be left out is an
  /// undefined tensor. The same each time. Empty when a size is not known.
  std::vector<at::Tensor> example_inputs(std::int64_t rows) const;
  /// The same network as it runs on a dataset whose samples have these types and shapes, of which
  /// `samples` are some, in the order of the inputs; undefined for those that are left out.
  std::shared_ptr<ProgramModel> fed(std::vector<PortInfo> inputs,
                                    std::vector<at::Tensor> samples) const;
  /// What the network's operators say of each input.
  const std::vector<InputUse>& uses() const { return uses_; }
  /// The type in which the network as it was given takes an input. One in half precision is given
  /// single precision here, and reduces it itself.
  at::ScalarType given_type(std::size_t input) const;
  /// The input that takes pixels in 0..1 and normalises them; nothing when there is none.
  std::optional<std::size_t> normalised_input() const { return normalised_; }

  /// Tries the network on these example inputs, N first in each, and remembers the shapes, axes and
  /// places of samples for `resolve`. The first call counts.
  void learn_shapes(const std::vector<at::Tensor>& examples) const;
  std::int64_t most_samples() const override;
  /// The outputs as the network returns them, wherever its samples are.
  NamedTensors outputs_as_in_network(const NamedTensors& inputs) const;
  /// What the pipeline says of the axes of a value. Throws `Error` for a hook point that does not
  /// exist, and when the value has another number of dimensions. [while a pipeline is checked]
  void declare_axes(const HookPoint& hook, const Axes& axes) const;
  /// That images, N x channels x height x width, enter at an input whose axes nothing else tells.
  /// [while a pipeline is checked]
  void declare_images(const std::string& input) const;
  /// Called before each operator; may throw `Cancelled`.
  void set_check(std::function<void()> check) { check_ = std::move(check); }
  /// Sees each operator; it outlives the model's runs.
  void set_watch(OperatorWatch* watch) { watch_ = watch; }
  const std::string& name() const { return name_; }
  const Program& program() const { return program_; }
  const DeclaredInputs& declared() const { return declared_; }

 private:
  friend class ProgramSnapshot;
  struct Planned {
    std::shared_ptr<const ProgramModel> origin;
    Program program;
    PlanReport report;
  };
  explicit ProgramModel(Planned planned);
  ProgramModel(const ProgramModel& network, Program program);
  /// The network with its batch norms merged, for rules that want that, with the values that the
  /// pass hooks made as they were. Lives as long as this model.
  const ProgramModel& merged(const Pass& pass) const;

  /// The model that this one is a plan of, or itself.
  const ProgramModel& root() const { return origin_ != nullptr ? *origin_ : *this; }
  void describe_inputs();
  /// A tensor as the program takes it at an input.
  at::Tensor taken(std::size_t input, const at::Tensor& value) const;
  const HookSite& site(const HookPoint& hook, int& execution) const;
  /// What is reduced inside of the network is handed out in single precision.
  at::ScalarType type_handed_out(at::ScalarType type) const;
  HookPointInfo info_of(const HookSite& site, std::string name) const;
  ValueId value_of(const HookPoint& hook) const;
  /// The value at the site, or what the branch or loop around it makes; negative for one that is
  /// gone.
  ValueId outermost(const HookSite& site) const;
  void learn_default_shapes() const;
  /// What trial runs told, on inputs of one shape.
  struct Trial {
    std::vector<at::ScalarType> types;
    std::vector<std::vector<std::int64_t>> shapes;  ///< without N
    std::int64_t samples = 0;
    std::unique_ptr<BatchLayout> layout;
    std::unique_ptr<ValueAxes> axes;  ///< of the network as it was given, not of its plans
  };
  /// Tries the network on some of these inputs, unless it was tried on inputs like them.
  const Trial& trial(const std::vector<at::Tensor>& inputs) const;
  static bool is_like(const Trial& trial, const std::vector<at::Tensor>& inputs);
  /// The trial of the network that was given, for inputs like these.
  const Trial& trial_for(const std::vector<at::Tensor>& inputs) const;
  /// Whether one sample has to go in twice. Throws `Error` for several samples where the network
  /// takes one at a time.
  bool is_doubled_run(const Trial* trial, std::int64_t rows) const;
  /// How the value is handed out, as `trial` of the network that was given found it.
  static ValueView view_of(ValueId value, const Trial& trial);
  /// With what is declared. Throws `Error` where a value has another number of dimensions.
  std::unique_ptr<ValueAxes> axes_of(const BatchLayout& layout) const;
  /// Samples that a trial is made of.
  static constexpr std::int64_t trial_rows = 3;
  /// What the pass does at which values, and the slice from `given` on. `cut` is where a resumed
  /// run begins; nullptr for a run from the inputs.
  PreparedPass prepare(const Pass& pass, const std::vector<ValueId>& given,
                       const std::vector<ValueId>* cut, const Trial* trial,
                       std::vector<std::vector<ValueId>>& live) const;
  std::shared_ptr<const Slice> slice(SliceRequest request) const;
  /// `examples`: some samples of the inputs, for snapshots.
  Recording finish(PassResult result, const Pass& pass,
                   const std::vector<std::vector<ValueId>>& live, std::int64_t rows,
                   const std::vector<at::Tensor>& examples) const;

  std::string name_;
  std::shared_ptr<const ProgramModel> origin_;  ///< of a plan
  PlanReport report_;
  Program program_;
  DeclaredInputs declared_;
  at::Device device_;
  at::Tensor mean_, std_;
  std::optional<std::size_t> normalised_;
  std::vector<PortInfo> inputs_;
  std::vector<InputUse> uses_;
  std::vector<at::Tensor> samples_;  ///< real ones, see `fed`
  Graph graph_;
  std::unordered_map<std::string, std::size_t> sites_;
  ProgramIndex index_;
  std::function<void()> check_;
  OperatorWatch* watch_ = nullptr;
  mutable std::once_flag learned_;
  mutable std::vector<PortInfo> outputs_;
  mutable std::map<ValueId, Axes> declared_axes_;
  mutable std::mutex trials_mutex_;
  mutable std::vector<std::unique_ptr<Trial>> trials_;
  mutable std::atomic<const Trial*> taught_{nullptr};  ///< the trial that `resolve` speaks of
  /// Of each setting: the values that a plan folds away when none of them is hooked, and plans by
  /// those among them that are.
  struct Plans {
    std::set<ValueId> foldable;
    std::map<std::set<ValueId>, std::weak_ptr<const ProgramModel>> made;
  };
  mutable std::mutex plans_mutex_;
  mutable std::map<std::string, Plans> plans_;
  bool is_merged_ = false;
  mutable std::map<std::set<ValueId>, std::shared_ptr<const ProgramModel>> merged_;
  mutable std::shared_mutex slices_mutex_;
  struct ByValues {
    using is_transparent = void;
    bool operator()(c10::ArrayRef<ValueId> a, c10::ArrayRef<ValueId> b) const {
      return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end());
    }
  };
  mutable std::map<std::vector<ValueId>, std::shared_ptr<const Slice>, ByValues> slices_;
};

}  // namespace microtome::host
