#include "perturbation/by_sample.h"

#include <optional>
#include <vector>

namespace attribution {

using namespace microtome;

namespace {

NamedTensors row_of(const NamedTensors& all, std::int64_t row) {
  NamedTensors one;
  for (const auto& [name, value] : all) one.set(name, value.narrow(0, row, 1));
  return one;
}

at::Tensor joined(const std::vector<Attributions>& parts,
                  const std::function<at::Tensor(const Attributions&)>& of) {
  std::vector<at::Tensor> rows;
  rows.reserve(parts.size());
  for (const Attributions& part : parts) rows.push_back(of(part));
  return at::cat(rows);
}

}  // namespace

Attributions by_sample(const AttributionInput& input,
                       const std::function<Attributions(const AttributionInput&)>& attribute) {
  std::vector<Attributions> parts;
  for (std::int64_t row = 0; row < input.batch.size(); ++row) {
    const NamedTensors inputs = row_of(input.inputs, row);
    const Batch batch{{input.batch.position(row)},
                      {input.batch.ids.at(static_cast<std::size_t>(row))},
                      row_of(input.batch.fields, row)};
    std::optional<TargetScore> target;
    if (input.target != nullptr) target = input.target->rows(at::tensor({row}, at::kLong));
    parts.push_back(
        attribute({input.model, inputs, batch, input.data, target ? &*target : nullptr}));
  }
  Attributions all;
  all.values = joined(parts, [](const Attributions& part) { return part.values; });
  all.score = joined(parts, [](const Attributions& part) { return part.score; });
  if (parts[0].completeness_delta.defined())
    all.completeness_delta =
        joined(parts, [](const Attributions& part) { return part.completeness_delta; });
  for (std::size_t i = 0; i < parts[0].more.size(); ++i) {
    all.more.emplace_back(parts[0].more[i].first, joined(parts, [i](const Attributions& part) {
                            return part.more[i].second;
                          }));
  }
  return all;
}

}  // namespace attribution
