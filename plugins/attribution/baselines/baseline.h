#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "microtome/sdk.h"

namespace attribution {

/// A baseline as text: `zeros`, `black`, `mean_image`, `mean_colour`, `blur`, `blur:SIGMA`,
/// `noise`, `noise:STD`, `field:NAME` (a tensor of the dataset).
struct Baseline {
  enum class Kind { zeros, black, mean_image, mean_colour, blur, noise, field };
  Kind kind = Kind::zeros;
  double amount = 0;
  std::string field;

  /// Throws `microtome::Error` naming the words.
  static Baseline parse(const std::string& text);
  bool is_random() const { return kind == Kind::noise; }
  /// Whether it is an image: made in pixels, and taken to the value at the hook point.
  bool is_of_pixels() const {
    return kind != Kind::zeros && kind != Kind::noise && kind != Kind::field;
  }
};

/// Samples of a dataset that its mean is taken over at most; a mean over all of a large dataset
/// would cost more than the attributions of a small one.
inline constexpr std::int64_t samples_of_mean = 256;

/// The baseline of a batch of images in 0..1 (or in model space, when the model does not
/// normalise), N x C x H x W. `mean_image` is the mean of the data; needed by the means alone.
at::Tensor pixel_baseline(const Baseline& baseline, const at::Tensor& images,
                          const at::Tensor& mean_image);

/// Separable Gaussian blur of maps, N x C x H x W; the border is repeated. sigma in pixels; 0: as
/// they are.
at::Tensor blurred(const at::Tensor& images, double sigma);

/// Mean of the first images of a dataset, C x H x W.
at::Tensor mean_image_of(const microtome::Dataset& data, const std::string& field);

}  // namespace attribution
