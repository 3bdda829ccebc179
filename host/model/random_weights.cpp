#include "host/model/random_weights.h"

#include <cmath>

#include "host/support/hash.h"
#include "microtome/error.h"

namespace microtome::host {
namespace {

at::Tensor random_weight(const ProgramParameter& parameter, const at::Tensor& trained,
                         std::uint64_t seed) {
  if (parameter.name.ends_with("running_mean")) return at::zeros_like(trained);
  if (parameter.name.ends_with("running_var")) return at::ones_like(trained);
  if (parameter.is_buffer || trained.dim() == 0) return trained;
  if (trained.dim() == 1)
    return parameter.name.ends_with("bias") ? at::zeros_like(trained) : at::ones_like(trained);
  const double fan_in = static_cast<double>(trained[0].numel());
  return at::randn(
             trained.sizes(),
             at::detail::createCPUGenerator(seed_of(std::to_string(seed) + "/" + parameter.name)),
             trained.options()) *
         std::sqrt(2 / fan_in);
}

}  // namespace

void randomise_weights(Program& program, std::uint64_t seed) {
  bool any = false;
  for (const ProgramParameter& parameter : program.parameters) {
    c10::IValue& constant = program.constants[static_cast<std::size_t>(-parameter.constant - 1)];
    const at::Tensor trained = constant.toTensor();
    if (!trained.is_floating_point() || trained.numel() == 0) continue;
    any = any || !parameter.is_buffer;
    constant = random_weight(parameter, trained, seed);
  }
  if (!any) {
    throw Error(
        "the model has no parameters by name, so there are none to draw; it was frozen before it "
        "was saved");
  }
}

}  // namespace microtome::host
