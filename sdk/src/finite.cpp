#include "microtome/finite.h"

#include <cmath>
#include <sstream>

#include "microtome/error.h"

namespace microtome {

std::string NotFinite::text(std::size_t skipped) const {
  std::string text = std::isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity";
  if (place.size() <= skipped) return text;
  for (std::size_t i = skipped; i < place.size(); ++i)
    text += (i == skipped ? " at [" : ", ") + std::to_string(place[i]);
  return text + "]";
}

std::optional<NotFinite> first_not_finite(const at::Tensor& values) {
  if (!values.defined() || !c10::isFloatingType(values.scalar_type()) || values.numel() == 0)
    return std::nullopt;
  const at::Tensor wrong = values.isfinite().logical_not();
  if (!wrong.any().item<bool>()) return std::nullopt;
  std::int64_t index = wrong.flatten().to(at::kByte).argmax().item<std::int64_t>();
  NotFinite found;
  found.value = values.flatten()[index].item<double>();
  found.place.resize(static_cast<std::size_t>(values.dim()));
  for (std::int64_t dimension = values.dim() - 1; dimension >= 0; --dimension) {
    found.place[static_cast<std::size_t>(dimension)] = index % values.size(dimension);
    index /= values.size(dimension);
  }
  return found;
}

void demand_finite(const at::Tensor& rows, const std::vector<std::string>& ids,
                   const std::string& what) {
  const auto found = first_not_finite(rows);
  if (!found) return;
  const auto row = static_cast<std::size_t>(found->place.empty() ? 0 : found->place[0]);
  const std::string sample = "sample \"" + ids.at(row) + "\": " + what;
  if (rows.dim() > 1)
    throw Error(sample + " holds a NaN or an infinite value (" + found->text(1) + ")");
  throw Error(sample + " is " + (std::isnan(found->value) ? "NaN" : "infinite"));
}

void demand_no_nan(const at::Tensor& rows, const std::vector<std::string>& ids,
                   const std::string& what) {
  if (!rows.defined() || !rows.is_floating_point() || !rows.isnan().any().item<bool>()) return;
  const auto found = first_not_finite(rows.masked_fill(rows.isinf(), 0));
  const auto row = static_cast<std::size_t>(found->place.empty() ? 0 : found->place[0]);
  throw Error("sample \"" + ids.at(row) + "\": " + what + " holds " + found->text(1));
}

void demand_finite(const at::Tensor& value, const std::string& what) {
  if (const auto found = first_not_finite(value))
    throw Error(what + " holds a NaN or an infinite value (" + found->text() + ")");
}

}  // namespace microtome
