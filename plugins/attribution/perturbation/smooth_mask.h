#pragma once

#include <cstdint>
#include <vector>

#include "microtome/sdk.h"

namespace attribution {

/// Masks in 0..1 that can't change faster than a kernel lets them: at each place the smooth maximum
/// of what points of a lattice contribute there,
///   m(u) = smax_v k(|u - v| / sigma) p(v),  smax f = sum f exp(20 f) / sum exp(20 f),
///   k(z) = exp(-2 max(0, z - 1/2)^2), cut off at z = 3/2.
/// Fong, Patrick, Vedaldi 2019 (arXiv 1910.08485), section 3.2; k as in the authors' code.
class SmoothMask {
 public:
  /// For maps of height x width. Lattice points lie at most a third of sigma (in pixels, above 0)
  /// or one pixel apart. Masks go on around the map by `margin`, about sigma, so that what a point
  /// at the border contributes counts as that of any other.
  SmoothMask(std::int64_t height, std::int64_t width, double sigma,
             const at::TensorOptions& options);

  /// Height and width of the lattice.
  std::int64_t rows() const { return rows_.inside; }
  std::int64_t columns() const { return columns_.inside; }
  std::int64_t margin() const { return margin_; }
  /// The part of a mask that lies on the map, N x 1 x height x width.
  at::Tensor on_map(const at::Tensor& mask) const;

  /// A mask, with what its derivative needs.
  struct Made {
    at::Tensor points;  ///< N x 1 x rows x columns, in 0..1
    at::Tensor mask;    ///< N x 1 x (height + 2 margin) x (width + 2 margin)
    at::Tensor sum;     ///< of the weights of the maximum, like the mask
  };
  Made of(const at::Tensor& points) const;
  /// Derivative by the points of something whose derivative by their mask is `by_mask`.
  at::Tensor gradient(const Made& made, const at::Tensor& by_mask) const;

 private:
  /// One side of the lattice, which is padded by nothing on either end.
  struct Side {
    std::int64_t pixels = 0;  ///< of the map
    std::int64_t inside = 1;  ///< points of the lattice
    std::int64_t reach = 0;   ///< how many points on either side contribute to a place
    std::int64_t padding = 0;
    double spacing = 1;
    at::Tensor first;       ///< of each place, int64, the first point that reaches it, padded
    at::Tensor places;      ///< of each place, less that of its nearest point
    at::Tensor membership;  ///< places x first points
  };
  static Side side(std::int64_t pixels, std::int64_t margin, double sigma,
                   const at::TensorOptions& options);
  struct Near;
  /// Calls `take(near, contribution)` for what each lattice point near a place contributes there.
  template <class Take>
  void for_near(const at::Tensor& points, Take take) const;

  std::int64_t margin_;
  Side rows_, columns_;
  struct Near {
    std::int64_t row = 0, column = 0;  ///< from the first points that reach a place
    at::Tensor kernel;                 ///< like a mask
  };
  std::vector<Near> near_;
};

}  // namespace attribution
