#include "microtome/sample_place.h"

#include <vector>

#include "microtome/error.h"

namespace microtome {

at::Tensor SamplePlace::samples_first(const at::Tensor& value, std::int64_t samples) const {
  if (is_first()) return value;
  const std::int64_t size = value.size(dimension);
  const std::int64_t others = samples > 0 ? size / samples : 0;
  // One of the two may differ between batches (positions do); both at once can't be told apart.
  const bool fits = samples > 0 && size % samples == 0 &&
                    (outer == 1 || inner == 1 || outer * inner == others) &&
                    (outer > 1 || inner > 1 || others == 1);
  if (!fits)
    throw Error("a dimension of " + std::to_string(size) + " does not hold " +
                std::to_string(samples) + " samples the way it did when the network was tried");
  const std::int64_t before = outer == 1 ? 1 : (inner == 1 ? others : outer);
  const std::vector<std::int64_t> parts{before, samples, others / before};
  at::Tensor result = value.unflatten(dimension, parts).movedim(dimension + 1, 0);
  // Now N, the dimensions before, outer, inner, the dimensions after.
  if (inner == 1) result = result.squeeze(dimension + 2);
  if (outer == 1) result = result.squeeze(dimension + 1);
  return result;
}

at::Tensor SamplePlace::in_network(const at::Tensor& value) const {
  if (is_first()) return value;
  at::Tensor result = value;
  if (outer == 1) result = result.unsqueeze(dimension + 1);
  if (inner == 1) result = result.unsqueeze(dimension + 2);
  return result.movedim(0, dimension + 1).flatten(dimension, dimension + 2);
}

}  // namespace microtome
