#include "transformation.h"

namespace activation_maximization {

at::Tensor Transformation::apply(const at::Tensor& images, at::Generator& generator) const {
  constexpr double radians = 3.14159265358979323846 / 180;
  const std::int64_t count = images.size(0), height = images.size(2), width = images.size(3);
  const auto drawn = [&](double each_way) {
    return (at::rand({count}, generator, at::kDouble) * 2 - 1) * each_way;
  };
  const at::Tensor angle = drawn(rotation * radians), factor = 1 / (1 + drawn(scale));
  const at::Tensor down = drawn(jitter * 2 / static_cast<double>(height));
  const at::Tensor right = drawn(jitter * 2 / static_cast<double>(width));
  // What the network sees keeps its size; the image is a little smaller than its frame.
  const double frame_y = 1 + 2.0 * static_cast<double>(padding) / static_cast<double>(height);
  const double frame_x = 1 + 2.0 * static_cast<double>(padding) / static_cast<double>(width);
  const at::Tensor cosine = angle.cos() * factor, sine = angle.sin() * factor;
  const at::Tensor move = at::stack({at::stack({cosine * frame_x, -sine * frame_y, right}, 1),
                                     at::stack({sine * frame_x, cosine * frame_y, down}, 1)},
                                    1)
                              .to(at::kFloat);
  const at::Tensor grid = at::affine_grid_generator(move, images.sizes(), false);
  // Outside is mid-grey: the sampler pads with 0.
  return at::grid_sampler(images - 0.5, grid, /*bilinear*/ 0, /*zeros*/ 0, false) + 0.5;
}

}  // namespace activation_maximization
