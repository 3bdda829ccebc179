#include "metrics/agreement.h"

namespace attribution {

namespace {

/// Ranks of each row, ties at their mean rank, float64.
at::Tensor ranks(const at::Tensor& rows) {
  const std::int64_t places = rows.size(1);
  const auto sorted = rows.sort(1);
  const at::Tensor& values = std::get<0>(sorted);
  const at::Tensor& order = std::get<1>(sorted);
  // Groups of equal values, numbered along each row.
  const at::Tensor is_new =
      at::cat({at::zeros({rows.size(0), 1}, at::kLong),
               (values.slice(1, 1, places) != values.slice(1, 0, places - 1)).to(at::kLong)},
              1);
  const at::Tensor group = is_new.cumsum(1);
  const at::Tensor position =
      at::arange(places, at::kDouble).unsqueeze(0).expand_as(values).contiguous();
  const at::Tensor none = at::zeros(rows.sizes(), at::kDouble);
  const at::Tensor sum = none.scatter_add(1, group, position);
  const at::Tensor count = none.scatter_add(1, group, at::ones_like(position));
  const at::Tensor mean = (sum / count.clamp_min(1)).gather(1, group);
  return at::zeros_like(mean).scatter(1, order, mean);
}

}  // namespace

at::Tensor rank_correlation(const at::Tensor& a, const at::Tensor& b) {
  at::Tensor x = ranks(a), y = ranks(b);
  x = x - x.mean(1, true);
  y = y - y.mean(1, true);
  const at::Tensor scale = (x.square().sum(1) * y.square().sum(1)).sqrt();
  return at::where(scale > 0, (x * y).sum(1) / scale.masked_fill(scale <= 0, 1),
                   at::zeros_like(scale));
}

}  // namespace attribution
