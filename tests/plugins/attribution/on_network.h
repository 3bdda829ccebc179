#pragma once

#include <string>
#include <vector>

#include "microtome/testing/harness.h"
#include "tests/host/model/scripted.h"

namespace microtome::testing {

/// Names of so many samples: s0, s1, ...
inline std::vector<std::string> sample_names(std::int64_t count) {
  std::vector<std::string> names;
  names.reserve(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) names.push_back("s" + std::to_string(i));
  return names;
}

/// What a stage with these parameters, in JSON, makes of the samples of a scripted network's only
/// input.
template <class S>
Output attribute(const torch::jit::Module& module, const std::string& parameters,
                 const at::Tensor& x) {
  const auto model = shared_model(module);
  const auto stage = make<S>(parameters);
  return Harness()
      .model("model", model)
      .dataset("data", std::make_shared<MemoryDataset>(sample_names(x.size(0)),
                                                       NamedTensors{{model->inputs()[0].name, x}}))
      .run(*stage)
      .at("attributions");
}

}  // namespace microtome::testing
