#include "host/model/value_layout.h"

#include <algorithm>
#include <iterator>

namespace microtome::host {
namespace {

at::Tensor as_numbers(const at::Tensor& value) {
  return value.is_floating_point() || value.is_complex() ? value : value.to(at::kDouble);
}

bool are_close(const at::Tensor& a, const at::Tensor& b) {
  if (a.sizes() != b.sizes()) return false;
  if (a.numel() == 0) return true;
  // As a rule they are the same bits, which is told in one go through them.
  if (a.scalar_type() == b.scalar_type() && at::equal(a, b)) return true;
  const at::Tensor left = as_numbers(a), right = as_numbers(b);
  const double scale =
      right.is_complex() ? 1 : right.abs().nan_to_num(0, 0, 0).max().item<double>();
  // Kernels for another number of rows round otherwise.
  const double rounding = a.scalar_type() == at::kBFloat16 ? 50
                          : a.scalar_type() == at::kHalf   ? 10
                                                           : 1;
  return at::allclose(left, right, 1e-3 * rounding, 1e-4 * rounding * scale, /*equal_nan=*/true);
}

at::Tensor indices(std::int64_t count, const at::Tensor& like) {
  return at::arange(count, at::TensorOptions().dtype(at::kLong).device(like.device()));
}

/// The one dimension whose size follows the number of samples; -1 for none, -2 when there are
/// several or the sizes differ in another way.
std::int64_t sample_dimension(const at::Tensor& small, const at::Tensor& large, std::int64_t few,
                              std::int64_t many) {
  std::int64_t found = -1;
  for (std::int64_t d = 0; d < small.dim(); ++d) {
    if (small.size(d) == large.size(d)) continue;
    if (found >= 0 || small.size(d) % few != 0 || large.size(d) * few != small.size(d) * many)
      return -2;
    found = d;
  }
  return found;
}

void compare_tensors(ValueLayout& layout, const at::Tensor& small, const at::Tensor& large,
                     std::int64_t few, std::int64_t many) {
  layout.type = small.scalar_type();
  // Sparse ones, as they lie between two dense ones, can't be handed out.
  if (small.layout() != at::kStrided || large.layout() != at::kStrided) return;
  layout.bytes_per_row =
      (static_cast<double>(large.nbytes()) - static_cast<double>(small.nbytes())) /
      static_cast<double>(many - few);
  layout.sizes = small.sizes().vec();
  if (small.dim() != large.dim() || small.scalar_type() != large.scalar_type()) return;
  const std::int64_t dimension = sample_dimension(small, large, few, many);
  if (dimension == -2) {
    layout.doubt = ValueLayout::Doubt::several_dimensions;
    return;
  }
  if (dimension == -1) {
    if (are_close(small, large)) {
      layout.kind = ValueLayout::Kind::fixed;
    } else {
      layout.doubt = ValueLayout::Doubt::same_size;
    }
    return;
  }
  const std::int64_t entries = small.size(dimension) / few;
  const at::Tensor first = indices(few, small);
  const auto fits = [&](const SamplePlace& place) {
    return are_close(rows_at(large, place, many, first), small);
  };
  if (entries <= 1) {
    // The shapes alone say where the samples are.
    layout.kind = ValueLayout::Kind::rows;
    layout.place = {dimension, 1, 1};
    layout.independent = fits(layout.place);
    return;
  }
  for (std::int64_t outer = 1; outer <= entries; ++outer) {
    if (entries % outer != 0) continue;
    const SamplePlace place{dimension, outer, entries / outer};
    if (fits(place)) layout.candidates.push_back(place);
  }
}

}  // namespace

at::Tensor rows_at(const at::Tensor& value, const SamplePlace& place, std::int64_t samples,
                   const at::Tensor& rows) {
  const at::Tensor chosen = rows.to(value.device());
  if (place.is_first() || (place.outer == 1 && place.inner == 1)) {
    // Selecting puts a tensor into rows; what has its channels last in memory keeps them there.
    if (place.dimension == 0 && value.suggest_memory_format() == at::MemoryFormat::ChannelsLast)
      return value.permute({0, 2, 3, 1}).index_select(0, chosen).permute({0, 3, 1, 2});
    return value.index_select(place.dimension, chosen);
  }
  return place.in_network(place.samples_first(value, samples).index_select(0, chosen));
}

std::vector<std::int64_t> ValueLayout::shape(std::int64_t trial_samples) const {
  std::vector<std::int64_t> result;
  if (kind == Kind::fixed) {
    result = sizes;
    if (result.empty() || result[0] != 1) result.insert(result.begin(), 1);
  } else if (kind == Kind::rows) {
    result.push_back(1);
    for (std::size_t d = 0; d < sizes.size(); ++d) {
      if (static_cast<std::int64_t>(d) != place.dimension) {
        result.push_back(sizes[d]);
        continue;
      }
      const std::int64_t entries = sizes[d] / trial_samples;
      if (place.outer > 1) result.push_back(entries / place.inner);
      if (place.inner > 1) result.push_back(place.inner);
    }
  }
  return result;
}

ValueLayout compare_values(const c10::IValue& small, const c10::IValue& large, std::int64_t few,
                           std::int64_t many) {
  ValueLayout layout;
  if (small.isTensor() && large.isTensor()) {
    if (small.toTensor().defined() && large.toTensor().defined())
      compare_tensors(layout, small.toTensor(), large.toTensor(), few, many);
    return layout;
  }
  if (small.isInt() && large.isInt()) {
    if (small.toInt() == large.toInt()) {
      layout.kind = ValueLayout::Kind::fixed;
    } else if (small.toInt() % few == 0 && large.toInt() * few == small.toInt() * many) {
      layout.kind = ValueLayout::Kind::count;
      layout.factor = small.toInt() / few;
    }
    return layout;
  }
  if (small.isIntList() && large.isIntList()) {
    const auto a = small.toIntVector(), b = large.toIntVector();
    if (a.size() != b.size()) return layout;
    for (std::size_t i = 0; i < a.size(); ++i) {
      if (a[i] == b[i]) {
        layout.factors.push_back(0);
      } else if (a[i] % few == 0 && b[i] * few == a[i] * many) {
        layout.factors.push_back(a[i] / few);
      } else {
        return layout;
      }
    }
    layout.kind = ValueLayout::Kind::counts;
    return layout;
  }
  const bool plain =
      small.isDouble() || small.isBool() || small.isString() || small.isNone() || small.isDevice();
  if (plain && small.tagKind() == large.tagKind() && small == large)
    layout.kind = ValueLayout::Kind::fixed;
  return layout;
}

bool confirm_layout(ValueLayout& layout, const c10::IValue& small, const c10::IValue& other,
                    std::int64_t few, const std::vector<std::int64_t>& copies) {
  if (!small.isTensor() || !small.toTensor().defined()) return true;
  if (!other.isTensor() || !other.toTensor().defined()) return false;
  const at::Tensor &first = small.toTensor(), &second = other.toTensor();
  if (first.layout() != at::kStrided || second.layout() != at::kStrided) return true;
  const auto agrees = [&](const SamplePlace& place) {
    return are_close(rows_at(first, place, few, at::tensor(copies)), second);
  };
  if (layout.kind == ValueLayout::Kind::fixed) {
    // What is the same for any number of samples may still be that of certain ones: their mean, or
    // the first of them.
    if (!are_close(first, second)) {
      layout.kind = ValueLayout::Kind::unknown;
      if (first.sizes() == second.sizes()) layout.doubt = ValueLayout::Doubt::same_size;
    }
    return first.sizes() == second.sizes();
  }
  if (layout.kind == ValueLayout::Kind::rows) {
    if (!layout.independent) return first.dim() == second.dim();
    return first.dim() == second.dim() && agrees(layout.place);
  }
  if (layout.candidates.empty()) return true;
  if (first.dim() != second.dim()) return false;
  std::vector<SamplePlace> left;
  std::copy_if(layout.candidates.begin(), layout.candidates.end(), std::back_inserter(left),
               agrees);
  if (left.empty()) return false;
  layout.candidates = std::move(left);
  return true;
}

}  // namespace microtome::host
