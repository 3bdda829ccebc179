#pragma once

#include <vector>

#include "microtome/sdk.h"

namespace activation_maximization {

/// What is maximised: a target's score, by place. A channel's score is the mean over its places, a
/// whole layer's the mean over its units, so that sizes of layers don't change what a regulariser
/// weighs.
class Objective {
 public:
  Objective(microtome::Target target, const microtome::Model& model, microtome::Context& context);

  struct Result {
    at::Tensor scores;     ///< [N]
    at::Tensor layer;      ///< the whole value at the target's hook; undefined without one
    microtome::Axes axes;  ///< of `layer` after N
  };
  /// `images` enter the model as its only input.
  Result operator()(const at::Tensor& images, bool with_gradients) const;
  /// Scores [targets, N] of several objectives in one run.
  static at::Tensor scores(const std::vector<Objective>& objectives, const at::Tensor& images);

 private:
  std::vector<microtome::HookPoint> hooks() const;
  Result score(const microtome::Recording& recording, std::int64_t images,
               std::size_t offset) const;
  microtome::Target target_;
  const microtome::Model* model_;
  microtome::Context* context_;
  at::Tensor direction_;
};

/// Mean cosine similarity of the Gram matrices of different images' values at a layer (Olah,
/// Mordvintsev, Schubert 2017); 0 for one image.
at::Tensor similarity(const at::Tensor& layer, const microtome::Axes& axes);

}  // namespace activation_maximization
