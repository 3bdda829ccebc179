#include "host/model/example_inputs.h"

#include <algorithm>

namespace microtome::host {
namespace {

/// Large ids are as good as small ones, but small ones are read more easily in a message.
constexpr std::int64_t most_ids = 64;

at::Tensor integers(const std::vector<std::int64_t>& shape, at::ScalarType type, std::int64_t ids) {
  const std::int64_t base = type == at::kBool || ids <= 0 ? 2 : std::min(ids, most_ids);
  const at::Tensor values = at::zeros(shape, at::kLong);
  const std::int64_t rows = shape[0], length = rows == 0 ? 0 : values.numel() / rows;
  auto* number = values.data_ptr<std::int64_t>();
  for (std::int64_t row = 0; row < rows; ++row) {
    // The row's number, digit by digit, on top of 0, 1, 2, ...
    std::int64_t rest = row;
    for (std::int64_t i = 0; i < length; ++i, rest /= base) *number++ = (i + rest % base) % base;
  }
  return values.to(type);
}

}  // namespace

at::Tensor example_input(const PortInfo& port, std::int64_t ids, std::int64_t rows) {
  std::vector<std::int64_t> shape{rows};
  shape.insert(shape.end(), port.shape.begin(), port.shape.end());
  if (c10::isIntegralType(port.type, true)) return integers(shape, port.type, ids);
  const at::Tensor values = at::rand(shape, at::detail::createCPUGenerator(0));
  return values.to(port.type);
}

at::Tensor example_rows(const at::Tensor& samples, std::int64_t rows) {
  std::vector<at::Tensor> parts;
  for (std::int64_t row = 0; row < rows; ++row) {
    at::Tensor sample = samples.narrow(0, row % samples.size(0), 1);
    const std::int64_t turn = row / samples.size(0);
    if (turn > 0 && sample.is_floating_point())
      sample = sample * (1 - 0.3 / static_cast<double>(turn)) + 0.05;
    // Ids that are there already, in another order: all of them are valid.
    if (turn > 0 && !sample.is_floating_point() && sample.dim() > 1) sample = sample.roll(turn, -1);
    parts.push_back(std::move(sample));
  }
  return at::cat(parts);
}

}  // namespace microtome::host
