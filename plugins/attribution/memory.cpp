#include "memory.h"

#include <algorithm>

namespace attribution {

using namespace microtome;

double bytes_of_largest_value(const PlanInputs& inputs) {
  double largest = 0;
  if (const Model* model = inputs.model("model")) {
    for (const HookPointInfo& hook : model->hook_points())
      largest = std::max(largest, hook.bytes());
  }
  return largest;
}

}  // namespace attribution
