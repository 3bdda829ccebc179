#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "microtome/sdk.h"

namespace attribution {

/// Samples to compare with.
struct Background {
  at::Tensor values;             ///< P x ...
  std::vector<std::string> ids;  ///< of the P samples

  /// Of a row, for errors.
  std::string name(std::int64_t row) const;
};

/// Values at the hook point on samples of the background, at most `most` of them: of the
/// dataset at the port "background", or of the one that is explained. The same for all chunks.
/// Throws `microtome::Error` when they differ in shape from `value`, that of the samples.
Background background_at_hook(const microtome::AttributionInput& input,
                              const microtome::HookPoint& at, std::int64_t most,
                              const at::Tensor& value, microtome::Context& context);

/// Says the port, and the parameter of how many.
template <class Params>
void describe_background(microtome::StageSpec<Params>& spec) {
  spec.input("background", {microtome::kind::dataset})
      .optional()
      .doc("samples to compare with; absent: the samples that are explained");
  spec.parameter("background", &Params::background)
      .range(1, 100000)
      .doc("how many samples of the background are compared with at most; they stay in memory");
}

}  // namespace attribution
