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

std::vector<at::Generator> generators_of(const AttributionInput& input, std::int64_t rows,
                                         std::size_t baseline, const Context& context) {
  constexpr std::uint64_t after_baselines = std::uint64_t{1} << 60;
  constexpr std::int64_t streams_of_a_sample = 64;
  std::vector<at::Generator> generators;
  generators.reserve(static_cast<std::size_t>(rows));
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::int64_t sample = input.batch.position(row) * streams_of_a_sample;
    generators.push_back(
        context.generator(after_baselines + static_cast<std::uint64_t>(sample) + baseline));
  }
  return generators;
}

}  // namespace attribution
