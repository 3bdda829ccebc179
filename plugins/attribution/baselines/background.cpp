#include "baselines/background.h"

#include <algorithm>

namespace attribution {

using namespace microtome;

at::Tensor background_at_hook(const AttributionInput& input, const HookPoint& at, std::int64_t most,
                              const at::Tensor& value, Context& context) {
  const Dataset& data =
      context.connected("background") ? context.dataset("background") : *input.data;
  const std::int64_t size = data.info().size;
  at::Generator generator = context.generator(0);
  const at::Tensor order = at::randperm(size, generator);
  const std::int64_t count = std::min(size, most);
  std::vector<at::Tensor> parts;
  for (std::int64_t first = 0; first < count; first += context.chunk_size()) {
    std::vector<std::int64_t> positions;
    for (std::int64_t i = first; i < std::min(first + context.chunk_size(), count); ++i)
      positions.push_back(order[i].item<std::int64_t>());
    Pass pass;
    pass.capture = {at};
    pass.outputs = false;
    parts.push_back(input.model.run(context.bind("model", data.load(positions)), pass).captured[0]);
  }
  if (parts.empty()) throw Error("the background has no samples");
  at::Tensor background = at::cat(parts);
  if (background.sizes().slice(1) != value.sizes().slice(1)) {
    throw Error("the background's values at \"" + at.text() +
                "\" differ in shape from those of the samples");
  }
  return background;
}

}  // namespace attribution
