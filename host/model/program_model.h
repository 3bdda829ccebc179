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
#include "host/model/interpreter.h"
#include "host/model/plan/plan.h"
#include "host/model/program.h"
#include "microtome/model.h"
#include "microtome/value.h"

namespace microtome::host {

/// A program as the SDK's model. [any number of threads]
class ProgramModel final : public Model, public std::enable_shared_from_this<ProgramModel> {
 public:
  ProgramModel(std::string name, Program program, ModelInput input, at::Device device);

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

  /// Bytes that a pass holds at its peak for each sample; nothing when the model does not say the
  /// size of its input. Runs the network on a few samples the first time.
  std::optional<double> bytes_per_sample(const Pass& pass) const;

  /// Finds shapes by running on these example inputs, N = 1.
  void learn_shapes(const std::vector<at::Tensor>& examples) const;
  /// Called before each operator; may throw `Cancelled`.
  void set_check(std::function<void()> check) { check_ = std::move(check); }
  /// Sees each operator; it outlives the model's runs.
  void set_watch(OperatorWatch* watch) { watch_ = watch; }
  const std::string& name() const { return name_; }
  const Program& program() const { return program_; }
  const ModelInput& input() const { return input_; }

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
  ModelInput input_;
  at::Device device_;
  at::Tensor mean_, std_;
  std::vector<PortInfo> inputs_;
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
