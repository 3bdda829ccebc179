#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "microtome/sdk.h"

/// Runs a stage without the host, for the tests of its author.
namespace microtome {
namespace [[gnu::visibility("default")]] testing {

/// A model of steps in a row, each a hook point: `{"conv1", f}, {"relu", g}`. One input, `input`,
/// one output, `output`.
class StepModel final : public Model {
 public:
  using Step = std::pair<std::string, std::function<at::Tensor(const at::Tensor&)>>;
  /// `example` is one sample, with N = 1; it gives the shapes.
  StepModel(at::Tensor example, std::vector<Step> steps);

  const std::vector<PortInfo>& inputs() const override { return inputs_; }
  const std::vector<PortInfo>& outputs() const override { return outputs_; }
  const Graph& graph() const override { return graph_; }
  std::vector<HookPointInfo> hook_points() const override { return hooks_; }
  HookPointInfo resolve(const HookPoint& hook) const override;
  bool normalises() const override { return false; }
  at::Tensor normalise(const at::Tensor& pixels) const override { return pixels; }
  Recording run(const NamedTensors& inputs, const Pass& pass) const override;
  /// From a cut at one hook point.
  Recording resume(const Snapshot& from, const Pass& pass) const override;
  bool is_computed_from(const HookPoint& later, const HookPoint& from) const override;

 private:
  /// Runs from the value called `start` on, which is `value`.
  Recording run_from(const std::string& start, at::Tensor value, const Pass& pass) const;

  std::vector<Step> steps_;
  std::vector<PortInfo> inputs_, outputs_;
  std::vector<HookPointInfo> hooks_;
  Graph graph_;
};

/// Samples in memory.
class MemoryDataset final : public Dataset {
 public:
  MemoryDataset(std::vector<std::string> ids, NamedTensors fields);
  /// Says that a field holds images, in 0..1 or normalised by these.
  void mark_image(const std::string& field, std::vector<double> mean = {},
                  std::vector<double> std = {});
  const DatasetInfo& info() const override { return info_; }
  Batch load(const std::vector<std::int64_t>& positions) const override;

 private:
  DatasetInfo info_;
  Batch all_;
};

/// What a stage wrote to one output.
struct Output {
  std::map<std::string, at::Tensor> tensors;
  std::vector<std::string> ids;
  std::vector<Metric> metrics;
  std::vector<View> views;
  Value metadata;
  std::shared_ptr<const ScriptModule> module;
  const Metric& metric(const std::string& name) const;
};

/// Makes a stage from parameters in JSON; throws `Error` with all mistakes.
template <class S>
std::unique_ptr<Stage> make(const std::string& json_parameters) {
  Problems problems;
  ReadContext context{problems, {}};
  auto made = StageTypeOf<S>("tested").make(from_json(json_parameters), context);
  std::string text;
  for (const Problem& problem : problems.list()) text += problem.message + "\n";
  if (!made) throw Error(text);
  return made;
}

/// What is connected to a stage's ports.
struct Connections {
  std::map<std::string, std::shared_ptr<const Model>> models;
  std::map<std::string, std::shared_ptr<const Dataset>> datasets;
  std::map<std::string, std::shared_ptr<const ArtifactReader>> artifacts;
  std::map<std::string, OutputPlan> plans;  ///< of the artifacts
  /// At ports that take a list; the first is among `artifacts` too.
  std::map<std::string, std::vector<std::pair<std::string, std::shared_ptr<const ArtifactReader>>>>
      members;

  bool contains(const std::string& port) const {
    return models.contains(port) || datasets.contains(port) || artifacts.contains(port);
  }
};

/// Connects inputs, then plans and runs.
class Harness {
 public:
  Harness& model(const std::string& port, std::shared_ptr<const Model> model);
  Harness& dataset(const std::string& port, std::shared_ptr<const Dataset> dataset);
  /// What a stage wrote before, or what `Output` is filled with.
  Harness& artifact(const std::string& port, const std::string& kind, Output output);
  /// One more at a port that takes a list; its name is that of the stage which wrote it.
  Harness& member(const std::string& port, const std::string& name, const std::string& kind,
                  Output output);
  Harness& chunk_size(std::int64_t samples);
  /// Mistakes found by the stage's plan.
  std::vector<std::string> plan_problems(const Stage& stage) const;
  /// The stage's plan; throws `Error` on mistakes.
  Plan plan(const Stage& stage) const;
  /// Plans, runs, and returns what it wrote, by output; throws `Error` on mistakes of the plan.
  std::map<std::string, Output> run(const Stage& stage) const;

 private:
  Connections inputs_;
  std::int64_t chunk_size_ = 32;
};

}  // namespace testing
}  // namespace microtome
