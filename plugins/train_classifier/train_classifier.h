#pragma once

#include <optional>
#include <string>
#include <vector>

#include "microtome/sdk.h"
#include "network.h"

namespace train_classifier {

struct Params {
  std::vector<std::string> layers = {"conv channels=16 stride=2",
                                     "batch_norm",
                                     "relu",
                                     "residual channels=16",
                                     "residual channels=32 stride=2",
                                     "residual channels=64 stride=2"};
  std::string label = "label";
  std::optional<std::int64_t> classes;
  std::int64_t epochs = 5;
  std::int64_t batch = 64;
  double learning_rate = 0.003;
  double weight_decay = 0;
};

/// A small network, trained.
class TrainClassifier final : public microtome::Stage {
 public:
  using Params = train_classifier::Params;
  explicit TrainClassifier(Params params);
  static void describe(microtome::StageSpec<Params>& spec);
  void plan(const microtome::PlanInputs& inputs, microtome::Plan& plan) const override;
  void run(microtome::Context& context) const override;

 private:
  std::int64_t class_count(const microtome::FieldInfo& label) const;
  Params params_;
  std::vector<Layer> layers_;
};

}  // namespace train_classifier
