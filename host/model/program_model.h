#pragma once

#include <algorithm>
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

  /// Finds shapes by running on these example inputs, N = 1.
  void learn_shapes(const std::vector<at::Tensor>& examples) const;
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
  HookPointInfo info_of(const HookSite& site, std::string name) const;
  ValueId value_of(const HookPoint& hook) const;
  void learn_default_shapes() const;
  const BatchLayout& layout(const std::vector<at::Tensor>& inputs) const;
  /// What the pass does at which values, and the slice from `given` on. `cut` is where a resumed
  /// run begins; nullptr for a run from the inputs.
  PreparedPass prepare(const Pass& pass, const std::vector<ValueId>& given,
                       const std::vector<ValueId>* cut,
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
  struct Known {
    at::ScalarType type = at::kFloat;
    std::vector<std::int64_t> shape;
  };
  mutable std::unordered_map<std::size_t, Known> shapes_;  ///< by number of the site
  mutable std::once_flag laid_out_;
  mutable std::unique_ptr<BatchLayout> layout_;
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
