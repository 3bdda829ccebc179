#pragma once

#include <cstdint>
#include <vector>

#include "microtome/tensor.h"

namespace attribution {

/// Which neighbour a path goes to next.
enum class AnchorStrategy {
  greedy,     ///< the one that has to be moved least to keep the path monotone
  max_count,  ///< the one with most coordinates that need not be moved
};

/// Real points, with the nearest neighbours of each.
struct ReferenceSet {
  at::Tensor points;      ///< P x D float32
  at::Tensor neighbours;  ///< P x K int64, nearest first, without the point itself

  /// Throws `microtome::Error` when there are fewer than two points.
  static ReferenceSet of(at::Tensor points, std::int64_t neighbours);
};

struct AnchoredPath {
  at::Tensor points;  ///< anchors + 2 x D, from the baseline to the input
  /// Mean distance of the points between from the anchors that they stand for, and of as many
  /// points of the straight line from their nearest real points.
  double error = 0, straight_error = 0;
};

/// A path from `end` to `start` through real points, turned around. Each next anchor is one of the
/// neighbours of the last (at first: of the input); coordinates that would make the path turn back
/// are put a step further on the straight line instead, so that each coordinate is monotone.
/// Sanyal, Ren 2021, section 3; among neighbours of equal worth, which the paper leaves open, the
/// one nearest to where a step of the straight line would be.
AnchoredPath anchored_path(const ReferenceSet& reference, const at::Tensor& start,
                           const at::Tensor& end, std::int64_t anchors, AnchorStrategy strategy);

}  // namespace attribution
