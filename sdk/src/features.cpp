#include "microtome/features.h"

#include <algorithm>

#include "microtome/error.h"

namespace microtome {

std::string FeatureRows::choose(const std::vector<TensorInfo>& tensors, const std::string& layer) {
  std::vector<std::string> names;
  for (const TensorInfo& info : tensors) {
    const bool beside = info.name.ends_with(".yx") || info.name.starts_with("ids.");
    if (!beside) names.push_back(info.name);
  }
  if (layer.empty()) {
    if (names.size() == 1) return names[0];
    throw Error("the activations are of several layers; say which one" + suggestion("", names));
  }
  if (std::find(names.begin(), names.end(), layer) == names.end()) {
    throw Error("the activations have no layer \"" + layer + "\"" + suggestion(layer, names));
  }
  return layer;
}

std::int64_t FeatureRows::planned(const PlanInputs& inputs, const std::string& port,
                                  const std::string& layer) {
  const OutputPlan* activations = inputs.artifact(port);
  if (activations == nullptr) return -1;
  try {
    const std::string name = choose(activations->tensors, layer);
    for (const TensorInfo& info : activations->tensors) {
      if (info.name == name && !info.shape.empty()) return info.shape.back();
    }
  } catch (const Error& error) {
    inputs.problems().add(error.location(), error.what());
  }
  return -1;
}

FeatureRows::FeatureRows(const ArtifactReader& activations, const std::string& layer)
    : activations_(&activations), layer_(choose(activations.tensors(), layer)) {
  for (const TensorInfo& info : activations.tensors()) {
    if (info.name != layer_) continue;
    const std::size_t rank = info.shape.size();
    if (rank != 2 && rank != 3) {
      throw Error("the activations of \"" + layer_ + "\" have rank " + std::to_string(rank) +
                  "; rows of features are N x D or N x positions x D: give the activations stage "
                  "a pool or positions");
    }
    samples_ = info.shape[0];
    positions_ = rank == 3 ? info.shape[1] : 1;
    features_ = info.shape.back();
  }
}

at::Tensor FeatureRows::read(std::int64_t begin, std::int64_t end) const {
  return activations_->rows(layer_, begin, end).to(at::kDouble).reshape({-1, features_});
}

std::int64_t FeatureRows::samples_in(double bytes) const {
  const double one = 8.0 * static_cast<double>(positions_ * features_);
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(bytes / one));
}

}  // namespace microtome
