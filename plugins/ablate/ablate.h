#pragma once

#include <string>
#include <vector>

#include "microtome/sdk.h"

namespace ablate {

/// What stands in the place of a value.
enum class Replacement { zero, mean, resample, value };

struct Params {
  std::vector<microtome::HookPoint> at;
  std::string each;
  bool together = false;
  Replacement with = Replacement::zero;
  double value = 0;
  microtome::Target target = microtome::parse_target("predicted");
  bool outputs = false;
};

/// Replaces values of a network, one place at a time, and measures what that does to a score.
class Ablate final : public microtome::Stage {
 public:
  using Params = ablate::Params;
  explicit Ablate(Params params) : params_(std::move(params)) {}
  static void describe(microtome::StageSpec<Params>& spec);
  void plan(const microtome::PlanInputs& inputs, microtome::Plan& plan) const override;
  void run(microtome::Context& context) const override;

 private:
  /// Places that are replaced in one run.
  using Site = std::vector<microtome::HookPoint>;
  struct Work;
  struct Effects;

  /// What is replaced in each run, in the order of the results.
  std::vector<Site> sites(const microtome::Model& model) const;
  /// Whether runs go on from the place.
  bool is_cut(const microtome::HookPointInfo& place) const;
  /// That is put everywhere, with: zero or value.
  double number() const { return params_.with == Replacement::value ? params_.value : 0; }
  /// What stands in the place of every sample's value at each of `places`, where that is one.
  std::vector<at::Tensor> rows(const Work& work) const;
  /// Mean over the samples, [1, ...], of the value at each of `places`.
  std::vector<at::Tensor> means(const Work& work) const;
  Effects effects(const Work& work, const std::vector<std::int64_t>& positions) const;

  Params params_;
};

}  // namespace ablate
