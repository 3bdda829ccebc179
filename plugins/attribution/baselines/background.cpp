#include "baselines/background.h"

#include <algorithm>

namespace attribution {

using namespace microtome;

std::string Background::name(std::int64_t row) const {
  return "the background's sample \"" + ids.at(static_cast<std::size_t>(row)) + "\"";
}

Background background_at_hook(const AttributionInput& input, const HookPoint& at, std::int64_t most,
                              const at::Tensor& value, Context& context) {
  const Dataset& data =
      context.connected("background") ? context.dataset("background") : *input.data;
  const std::int64_t size = data.info().size;
  at::Generator generator = context.generator(0);
  const at::Tensor order = at::randperm(size, generator);
  std::vector<at::Tensor> parts;
  Background background;
  for (std::vector<std::int64_t> positions :
       chunks_of(std::min(size, most), context.chunk_size())) {
    for (std::int64_t& position : positions) position = order[position].item<std::int64_t>();
    Pass pass;
    pass.capture = {at};
    pass.outputs = false;
    const Batch batch = data.load(positions);
    parts.push_back(input.model.run(context.bind("model", batch), pass).captured[0]);
    demand_finite(parts.back(), batch.ids, "the value at \"" + at.text() + "\" on the background");
    background.ids.insert(background.ids.end(), batch.ids.begin(), batch.ids.end());
  }
  if (parts.empty()) throw Error("the background has no samples");
  background.values = at::cat(parts);
  if (background.values.sizes().slice(1) != value.sizes().slice(1)) {
    throw Error("the background's values at \"" + at.text() +
                "\" differ in shape from those of the samples");
  }
  return background;
}

}  // namespace attribution
