#pragma once

#include "microtome/tensor.h"

namespace activation_maximization {

enum class Parametrisation { fourier, pixel };

/// Images in 0..1 as a smooth function of free numbers: sigmoid of decorrelated colours, of the
/// numbers themselves or of a spectrum in which frequency f weighs 1 / f, as in natural images.
class ImageParametrisation {
 public:
  /// `colour` [C, C]: a root of the covariance of colours, which makes equal steps in each free
  /// colour equally natural.
  ImageParametrisation(Parametrisation kind, std::int64_t images, std::int64_t channels,
                       std::int64_t height, std::int64_t width, at::Tensor colour,
                       at::Generator generator);
  at::Tensor& numbers() { return numbers_; }
  /// [N, C, H, W]; gradients reach `numbers`.
  at::Tensor images() const;

 private:
  Parametrisation kind_;
  std::int64_t height_, width_;
  at::Tensor colour_, weight_, numbers_;
};

/// A root of the covariance of colours over images [N, C, H, W], scaled to a largest column norm
/// of 1.
at::Tensor colour_root(const at::Tensor& images);

/// Share of the variance of brightness above half the Nyquist frequency, by image [N].
at::Tensor high_frequency_share(const at::Tensor& images);

}  // namespace activation_maximization
