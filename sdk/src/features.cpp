#include "microtome/features.h"

#include <algorithm>

#include "microtome/error.h"
#include "microtome/finite.h"
#include "microtome/planned_rows.h"

namespace microtome {
namespace {

/// What the activations say of a layer's dimensions after N; empty when they say nothing.
Axes recorded_axes(const ArtifactReader& activations, const std::string& layer) {
  const Value* all = activations.metadata().find("axes");
  const Value* own = all != nullptr && all->is_map() ? all->find(layer) : nullptr;
  Axes axes;
  if (own == nullptr || !own->is_list()) return axes;
  for (const Value& axis : own->as_list()) axes.push_back(axis.as_string());
  return axes;
}

}  // namespace

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
  const auto has = [&](const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  if (has(layer)) return layer;
  // Tensors of hook points go by one way of writing them, a user may have chosen another.
  try {
    if (const std::string written = parse_hook_point(layer).text(); has(written)) return written;
  } catch (const Error&) {
    // Not a hook point: no layer either.
  }
  throw Error("the activations have no layer \"" + layer + "\"" + suggestion(layer, names));
}

std::int64_t FeatureRows::planned(const PlanInputs& inputs, const std::string& port,
                                  const std::string& layer) {
  const OutputPlan* activations = inputs.artifact(port);
  if (activations == nullptr) return -1;
  try {
    const std::string name = choose(activations->tensors, layer);
    for (const TensorInfo& info : activations->tensors) {
      if (info.name != name || info.shape.empty()) continue;
      return has_axis("c", info.axes)
                 ? info.shape.at(static_cast<std::size_t>(axis_dimension(
                       "c", info.axes, static_cast<std::int64_t>(info.shape.size()))))
                 : info.shape.back();
    }
  } catch (const Error& error) {
    inputs.problems().add(error.location(), error.what());
  }
  return -1;
}

std::vector<std::int64_t> planned_rows(const PlanInputs& inputs, const std::string& port,
                                       const std::string& layer) {
  const OutputPlan* activations = inputs.artifact(port);
  if (activations == nullptr) return {};
  try {
    const std::string name = FeatureRows::choose(activations->tensors, layer);
    for (const TensorInfo& info : activations->tensors) {
      if (info.name != name) continue;
      if (info.shape.size() == 2) return {-1};
      if (info.shape.size() != 3) return {};
      const std::int64_t features =
          has_axis("c", info.axes) ? axis_dimension("c", info.axes, 3) : 2;
      return {-1, info.shape[static_cast<std::size_t>(3 - features)]};
    }
  } catch (const Error&) {
    // `FeatureRows::planned` says it.
  }
  return {};
}

struct FeatureRows::Parts {
  const ArtifactReader* activations = nullptr;
  std::string layer;
  std::int64_t samples = 0, positions = 1, features = 0;
  std::int64_t feature_dimension = 2;
};

FeatureRows::FeatureRows(const ArtifactReader& activations, const std::string& layer) {
  auto parts = std::make_shared<Parts>();
  parts->activations = &activations;
  parts->layer = choose(activations.tensors(), layer);
  for (const TensorInfo& info : activations.tensors()) {
    if (info.name != parts->layer) continue;
    const std::size_t rank = info.shape.size();
    if (rank != 2 && rank != 3) {
      throw Error("the activations of \"" + parts->layer + "\" have rank " + std::to_string(rank) +
                  "; rows of features are N x D or N x positions x D: give the activations stage "
                  "a pool or positions");
    }
    parts->samples = info.shape[0];
    if (rank == 3) {
      const Axes axes = recorded_axes(activations, parts->layer);
      // Without a word on it, features are last.
      if (!axes.empty()) parts->feature_dimension = axis_dimension("c", axes, 3);
      parts->positions = info.shape[static_cast<std::size_t>(3 - parts->feature_dimension)];
    } else {
      parts->feature_dimension = 1;
    }
    parts->features = info.shape[static_cast<std::size_t>(parts->feature_dimension)];
  }
  parts_ = std::move(parts);
}

std::int64_t FeatureRows::samples() const { return parts_->samples; }
std::int64_t FeatureRows::positions() const { return parts_->positions; }
std::int64_t FeatureRows::features() const { return parts_->features; }
const std::string& FeatureRows::layer() const { return parts_->layer; }

at::Tensor FeatureRows::read(std::int64_t begin, std::int64_t end) const {
  const at::Tensor rows = parts_->activations->rows(parts_->layer, begin, end);
  if (first_not_finite(rows)) {
    const std::vector<std::string> all = parts_->activations->sample_ids();
    std::vector<std::string> ids;
    for (std::int64_t i = begin; i < end; ++i) {
      const auto place = static_cast<std::size_t>(i);
      ids.push_back(place < all.size() ? all[place] : std::to_string(i));
    }
    demand_finite(rows, ids, "the value at \"" + parts_->layer + "\"");
  }
  return rows.to(at::kDouble)
      .movedim(parts_->feature_dimension, -1)
      .reshape({-1, parts_->features});
}

std::int64_t FeatureRows::samples_in(double bytes) const {
  const double one = 8.0 * static_cast<double>(parts_->positions * parts_->features);
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(bytes / one));
}

}  // namespace microtome
