#include "paths/anchor_search.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "microtome/error.h"

namespace attribution {

namespace {

/// Rows whose distances to all points are in memory at once.
constexpr std::int64_t rows_at_once = 512;

at::Tensor nearest(const at::Tensor& from, const at::Tensor& points, std::int64_t count) {
  std::vector<at::Tensor> parts;
  for (std::int64_t first = 0; first < from.size(0); first += rows_at_once) {
    const at::Tensor distances =
        at::cdist(from.slice(0, first, std::min(first + rows_at_once, from.size(0))), points);
    parts.push_back(std::get<1>(distances.topk(count, 1, /*largest=*/false)));
  }
  return at::cat(parts);
}

/// Mean distance of rows from the real point that is nearest to each.
double distance_to_real(const at::Tensor& rows, const at::Tensor& points) {
  return rows.size(0) == 0 ? 0
                           : at::cdist(rows, points).amin(1).to(at::kDouble).mean().item<double>();
}

/// Whether a candidate's coordinates lie between here and the goal.
at::Tensor monotone(const at::Tensor& candidates, const at::Tensor& here, const at::Tensor& goal) {
  const at::Tensor low = at::minimum(here, goal), high = at::maximum(here, goal);
  return (candidates >= low).logical_and(candidates <= high);
}

}  // namespace

ReferenceSet ReferenceSet::of(at::Tensor points, std::int64_t neighbours) {
  if (points.size(0) < 2) throw microtome::Error("there are fewer than two real points to go by");
  ReferenceSet set;
  set.points = points.to(at::kFloat).contiguous();
  const std::int64_t count = std::min(neighbours + 1, set.points.size(0));
  const at::Tensor found = nearest(set.points, set.points, count);
  // Itself is the nearest but for copies of it; the last is dropped where it is not there.
  const at::Tensor own = at::arange(set.points.size(0)).unsqueeze(1);
  const at::Tensor order = std::get<1>((found == own).to(at::kInt).sort(true, 1, false));
  set.neighbours = found.gather(1, order).slice(1, 0, count - 1).contiguous();
  return set;
}

AnchoredPath anchored_path(const ReferenceSet& reference, const at::Tensor& start,
                           const at::Tensor& end, std::int64_t anchors, AnchorStrategy strategy) {
  const at::Tensor& points = reference.points;
  at::Tensor candidates =
      nearest(end.unsqueeze(0), points, std::min(reference.neighbours.size(1), points.size(0)))[0];
  at::Tensor used = at::zeros({points.size(0)}, at::kBool);
  at::Tensor here = end;
  std::vector<at::Tensor> path{end};
  AnchoredPath result;
  for (std::int64_t i = 0; i < anchors; ++i) {
    const at::Tensor open = candidates.masked_select(~used.index_select(0, candidates));
    // With all neighbours used the path goes on by the straight line.
    const double share = 1.0 / static_cast<double>(anchors + 1 - i);
    const at::Tensor on_line = here + share * (start - here);
    if (open.numel() == 0) {
      here = on_line;
      path.push_back(here);
      continue;
    }
    const at::Tensor real = points.index_select(0, open);
    const at::Tensor fine = monotone(real, here, start);
    const at::Tensor moved = at::where(fine, real, on_line);
    const at::Tensor distance = (moved - real).square().sum(1).sqrt();
    const at::Tensor worth =
        strategy == AnchorStrategy::greedy ? -distance : fine.sum(1).to(distance.scalar_type());
    // Among equals the one that makes a step's way, or a path would stay where points are dense.
    const at::Tensor off_step =
        (moved - on_line)
            .square()
            .sum(1)
            .masked_fill(worth < worth.max(), std::numeric_limits<float>::infinity());
    const auto chosen = off_step.argmin().item<std::int64_t>();
    const auto anchor = open[chosen].item<std::int64_t>();
    used[anchor] = true;
    here = moved[chosen];
    path.push_back(here);
    candidates = reference.neighbours[anchor];
  }
  path.push_back(start);
  std::reverse(path.begin(), path.end());
  result.points = at::stack(path);
  const std::int64_t between = result.points.size(0) - 2;
  result.error = distance_to_real(result.points.slice(0, 1, 1 + between), points);
  const at::Tensor alphas =
      at::arange(1, between + 1, at::kFloat).div(static_cast<double>(between + 1)).unsqueeze(1);
  result.straight_error = distance_to_real(start + alphas * (end - start), points);
  return result;
}

}  // namespace attribution
