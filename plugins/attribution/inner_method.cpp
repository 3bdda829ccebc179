#include "inner_method.h"

namespace attribution {

using namespace microtome;

AttributionMethod& method_of(const NestedStage& nested) {
  void* found = nested.stage ? nested.stage->capability(AttributionMethod::capability) : nullptr;
  if (found == nullptr) {
    throw Error("method: \"" + nested.uses +
                "\" is no attribution method; `microtome plugins` lists what is");
  }
  return *static_cast<AttributionMethod*>(found);
}

at::Tensor per_model_unit(const Model& model, const at::Tensor& value) {
  // Normalising is linear by channel.
  return (model.normalise(at::ones_like(value)) - model.normalise(at::zeros_like(value)))
      .reciprocal();
}

}  // namespace attribution
