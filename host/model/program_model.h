#pragma once

#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "host/model/interpreter.h"
#include "host/model/program.h"
#include "microtome/model.h"
#include "microtome/value.h"

namespace microtome::host {

/// A program as the SDK's model. [any number of threads]
class ProgramModel final : public Model {
 public:
  ProgramModel(std::string name, Program program, ModelInput input, at::Device device);

  const std::vector<PortInfo>& inputs() const override { return inputs_; }
  const std::vector<PortInfo>& outputs() const override;
  const Graph& graph() const override { return graph_; }
  std::vector<HookPointInfo> hook_points() const override;
  HookPointInfo resolve(const HookPoint& hook) const override;
  bool normalises() const override { return mean_.defined(); }
  at::Tensor normalise(const at::Tensor& pixels) const override;
  Recording run(const NamedTensors& inputs, const Pass& pass) const override;

  /// Finds shapes by running on these example inputs, N = 1.
  void learn_shapes(const std::vector<at::Tensor>& examples) const;
  /// Called before each operator; may throw `Cancelled`.
  void set_check(std::function<void()> check) { check_ = std::move(check); }
  const Program& program() const { return program_; }
  const ModelInput& input() const { return input_; }

 private:
  const HookSite& site(const HookPoint& hook, int& execution) const;
  void learn_default_shapes() const;

  std::string name_;
  Program program_;
  ModelInput input_;
  at::Device device_;
  at::Tensor mean_, std_;
  std::vector<PortInfo> inputs_;
  Graph graph_;
  std::unordered_map<std::string, std::size_t> sites_;
  std::function<void()> check_;
  mutable std::once_flag learned_;
  mutable std::vector<PortInfo> outputs_;
  struct Known {
    at::ScalarType type = at::kFloat;
    std::vector<std::int64_t> shape;
  };
  mutable std::unordered_map<std::size_t, Known> shapes_;  ///< by number of the site
};

}  // namespace microtome::host
