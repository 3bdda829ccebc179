#pragma once

#include <cstdint>
#include <vector>

#include "microtome/sdk.h"

namespace attribution {

/// A batch's result: attributions in float32, the scores, and the class where the target has one.
microtome::Attributions attributions(const microtome::ScoreFunction& score,
                                     const at::Tensor& scores, const at::Tensor& values);

/// Sum over all but the first dimension, float64.
at::Tensor row_sums(const at::Tensor& values);

/// Of an image or any other value for each sample: the factor of N values, shaped to multiply it.
at::Tensor by_row(const at::Tensor& factors, const at::Tensor& like);

/// One generator for each sample of the batch, so that chunks don't matter; `baseline` tells those
/// of several baselines apart. Its streams are not those of random baselines.
std::vector<at::Generator> generators_of(const microtome::AttributionInput& input,
                                         std::int64_t rows, std::size_t baseline,
                                         const microtome::Context& context);

}  // namespace attribution
