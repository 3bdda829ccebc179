#include "result.h"

namespace attribution {

using namespace microtome;

Attributions attributions(const ScoreFunction& score, const at::Tensor& scores,
                          const at::Tensor& values) {
  Attributions result;
  result.values = values.to(at::kFloat);
  result.score = scores.to(at::kFloat);
  if (score.target().classes().defined())
    result.more.emplace_back("target", score.target().classes());
  return result;
}

at::Tensor row_sums(const at::Tensor& values) { return values.to(at::kDouble).flatten(1).sum(1); }

at::Tensor by_row(const at::Tensor& factors, const at::Tensor& like) {
  std::vector<std::int64_t> shape(static_cast<std::size_t>(like.dim()), 1);
  shape[0] = -1;
  return factors.view(shape);
}

}  // namespace attribution
