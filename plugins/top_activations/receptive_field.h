#pragma once

#include "microtome/sdk.h"

namespace top_activations {

/// Which pixels of the input can reach a place of a layer.
struct ReceptiveField {
  /// Of the layer's middle place, in pixels, [y, x].
  std::int64_t middle[2] = {0, 0};
  std::int64_t low[2] = {0, 0}, high[2] = {0, 0};  ///< first pixel, and one past the last
  double stride[2] = {1, 1};                       ///< pixels from place to place
  std::int64_t image[2] = {0, 0};

  struct Box {
    std::int64_t top, left, bottom, right;
  };
  /// Within the image. The whole image for a layer without places.
  Box at(std::int64_t y, std::int64_t x) const;
};

/// Found from where the gradient of the middle place is not zero, over several noise inputs and all
/// channels, so that no ReLU hides a pixel. Takes the layer's places to be evenly spread over the
/// image.
ReceptiveField receptive_field(const microtome::Model& model, const microtome::NamedTensors& inputs,
                               const std::string& image_input, const microtome::HookPoint& layer,
                               at::Generator generator);

}  // namespace top_activations
