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
  std::vector<at::Tensor> parts;
  for (std::vector<std::int64_t> positions :
       chunks_of(std::min(size, most), context.chunk_size())) {
    for (std::int64_t& position : positions) position = order[position].item<std::int64_t>();
    Pass pass;
    pass.capture = {at};
    pass.outputs = false;
    const Batch batch = data.load(positions);
    parts.push_back(input.model.run(context.bind("model", batch), pass).captured[0]);
    demand_finite(parts.back(), batch.ids, "the value at \"" + at.text() + "\" on the background");
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
