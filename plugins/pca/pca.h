#pragma once

#include "decomposition.h"
#include "microtome/sdk.h"

namespace pca {

enum class Method { automatic, exact, randomised };

struct Params {
  std::string layer;
  std::int64_t components = 10;
  Method method = Method::automatic;
  std::int64_t oversampling = 10;
  std::int64_t iterations = 4;
};

/// Principal components of activations.
class PrincipalComponents final : public microtome::Stage {
 public:
  using Params = pca::Params;
  explicit PrincipalComponents(Params params) : params_(std::move(params)) {}
  static void describe(microtome::StageSpec<Params>& spec);
  void plan(const microtome::PlanInputs& inputs, microtome::Plan& plan) const override;
  void run(microtome::Context& context) const override;

 private:
  Decomposition decompose(const microtome::FeatureRows& features, const Rows& rows,
                          microtome::Context& context) const;
  Params params_;
};

}  // namespace pca
