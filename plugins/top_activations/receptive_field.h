#pragma once

#include <map>
#include <utility>
#include <vector>

#include "microtome/sdk.h"

namespace top_activations {

/// Rows [top, bottom) and columns [left, right) of an image.
struct Box {
  std::int64_t top = 0, left = 0, bottom = 0, right = 0;
  bool empty() const { return bottom <= top || right <= left; }
  bool operator==(const Box&) const = default;
};

/// Which pixels of the input reach units of a layer: the smallest box around those where the
/// gradient of the unit at the place is not zero, on inputs of noise, whatever a ReLU or a maximum
/// lets through there. Each place has its own box, as what lies between may enlarge, pad or pool by
/// uneven windows.
class ReceptiveFields {
 public:
  /// The noise has the shape of `inputs`' image; other inputs are those of its first sample.
  ReceptiveFields(const microtome::Model& model, const microtome::NamedTensors& inputs,
                  std::string image_input, microtome::HookPoint layer, at::Generator generator);

  /// Empty when no pixel reaches the place (it sees padding alone); the whole image for a layer
  /// without places, or without a gradient.
  /// `place`: its number among the layer's places, the last dimension running fastest.
  Box box(std::int64_t unit, std::int64_t place);

 private:
  /// A recorded run on one image of noise.
  struct Run {
    at::Tensor noise;
    at::Tensor value;  ///< units x places; undefined for a layer without places
  };
  const Run& run(std::size_t i);

  const microtome::Model& model_;
  microtome::NamedTensors inputs_;
  std::string image_input_;
  microtome::Pass pass_;
  at::Generator generator_;
  Box whole_;
  std::vector<Run> runs_;
  std::map<std::pair<std::int64_t, std::int64_t>, Box> known_;
};

}  // namespace top_activations
