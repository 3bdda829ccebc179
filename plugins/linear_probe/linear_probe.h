#pragma once

#include <string>
#include <vector>

#include "cross_validation.h"
#include "microtome/sdk.h"

namespace linear_probe {

struct Params {
  std::string layer;
  std::int64_t folds = 5;
  std::int64_t inner_folds = 3;
  std::vector<double> l2 = {1e-4, 1e-3, 1e-2, 1e-1, 1};
  std::int64_t permutations = 20;
};

/// Logistic regression from activations to a field.
class LinearProbe final : public microtome::Stage {
 public:
  using Params = linear_probe::Params;
  explicit LinearProbe(Params params) : params_(std::move(params)) {}
  static void describe(microtome::StageSpec<Params>& spec);
  void plan(const microtome::PlanInputs& inputs, microtome::Plan& plan) const override;
  void run(microtome::Context& context) const override;

 private:
  Settings settings() const { return {params_.folds, params_.inner_folds, params_.l2}; }
  void write_baseline(const char* port, const Labelled& data, const at::Tensor& folds,
                      const std::vector<std::string>& ids, std::vector<microtome::Value>& table,
                      microtome::Context& context, const std::function<void()>& fold_done) const;
  Params params_;
};

}  // namespace linear_probe
