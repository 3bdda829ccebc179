#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "baselines/baseline.h"
#include "microtome/sdk.h"

namespace attribution {

/// For `ScoreFunction::scores`.
inline constexpr const char* baseline_words = "the baseline";

/// The baselines of a method: read from its parameter, and made for a batch at a hook point.
/// [any number of threads]
class Baselines {
 public:
  /// What the parameter is, for `StageSpec::doc`.
  static constexpr const char* doc =
      "zeros (of the model's input, taken to `at`; of the value at `at` where the input is "
      "tokens), black, mean_image, mean_colour, blur[:sigma in pixels], "
      "noise[:std], field:NAME (a tensor of the dataset for each sample, in place of the value at "
      "`at` or of the model's input), or a list of them, averaged";

  /// Throws `microtome::Error` naming the words.
  explicit Baselines(std::vector<std::string> texts);

  std::size_t size() const { return baselines_.size(); }
  bool are_random() const;
  /// Adds what is wrong with them for the value at `at` of the model at the port "model".
  void check(const microtome::PlanInputs& inputs, const microtome::HookPoint& at) const;

  /// The value at `at` on baseline `number` for each sample of the batch. `value` is the value
  /// there on the samples themselves. Throws `microtome::Error` that names the sample when it is
  /// not finite.
  at::Tensor at_hook(const microtome::AttributionInput& input, const microtome::HookPoint& at,
                     std::size_t number, const at::Tensor& value,
                     microtome::Context& context) const;

 private:
  at::Tensor made(const microtome::AttributionInput& input, const microtome::HookPoint& at,
                  std::size_t number, const at::Tensor& value, microtome::Context& context) const;
  at::Tensor mean_of(const microtome::Dataset& data) const;

  struct Mean {
    std::mutex mutex;
    const microtome::Dataset* of = nullptr;
    at::Tensor image;
  };
  std::vector<std::string> texts_;
  std::vector<Baseline> baselines_;
  std::shared_ptr<Mean> mean_ = std::make_shared<Mean>();
};

/// Parameters of methods that compare with baselines.
struct BaselineParams : microtome::AttributionParams {
  std::vector<std::string> baseline = {"zeros"};
};

template <class Params>
void describe_baselines(microtome::StageSpec<Params>& spec) {
  spec.parameter("baseline", &Params::baseline).doc(Baselines::doc);
}

/// Base of the methods that compare with baselines.
class BaselineStage : public microtome::AttributionStage {
 public:
  explicit BaselineStage(const BaselineParams& params)
      : AttributionStage(params), baselines_(params.baseline) {}

  void plan(const microtome::PlanInputs& inputs, microtome::Plan& plan) const override;

 protected:
  const Baselines& baselines() const { return baselines_; }

 private:
  Baselines baselines_;
};

}  // namespace attribution
