#include "host/model/batch_layout.h"

#include <algorithm>
#include <functional>
#include <unordered_map>
#include <utility>

#include "host/model/interpreter.h"

namespace microtome::host {
namespace {

constexpr std::int64_t few = 2, many = 4;

at::Tensor as_numbers(const at::Tensor& value) {
  return value.is_floating_point() || value.is_complex() ? value : value.to(at::kDouble);
}

bool are_close(const at::Tensor& a, const at::Tensor& b) {
  if (a.numel() == 0) return true;
  // As a rule they are the same bits, which is told in one go through them.
  if (a.scalar_type() == b.scalar_type() && at::equal(a, b)) return true;
  const at::Tensor left = as_numbers(a), right = as_numbers(b);
  const double scale =
      right.is_complex() ? 1 : right.abs().nan_to_num(0, 0, 0).max().item<double>();
  return at::allclose(left, right, 1e-3, 1e-4 * scale, /*equal_nan=*/true);
}

/// Rows of a dimension whose samples are outermost, `factor` entries each.
at::Tensor rows_along(const at::Tensor& value, std::int64_t dimension, std::int64_t factor,
                      const at::Tensor& rows) {
  const at::Tensor entries =
      factor == 1 ? rows
                  : (rows.unsqueeze(1) * factor + at::arange(factor, rows.options())).flatten();
  // Selecting puts a tensor into rows; what has its channels last in memory keeps them there.
  if (dimension == 0 && value.suggest_memory_format() == at::MemoryFormat::ChannelsLast)
    return value.permute({0, 2, 3, 1}).index_select(0, entries).permute({0, 3, 1, 2});
  return value.index_select(dimension, entries);
}

ValueLayout layout_of(const at::Tensor& small, const at::Tensor& large) {
  ValueLayout layout;
  layout.bytes_per_row = static_cast<double>(large.nbytes()) - static_cast<double>(small.nbytes());
  layout.bytes_per_row /= many - few;
  if (small.dim() != large.dim() || small.scalar_type() != large.scalar_type()) return layout;
  std::int64_t differs = -1;
  for (std::int64_t d = 0; d < small.dim(); ++d) {
    if (small.size(d) == large.size(d)) continue;
    if (differs >= 0 || large.size(d) != 2 * small.size(d) || small.size(d) % few != 0)
      return layout;
    differs = d;
  }
  if (differs < 0) {
    if (are_close(small, large)) layout.kind = ValueLayout::Kind::fixed;
    return layout;
  }
  layout.dimension = differs;
  layout.factor = small.size(differs) / few;
  const at::Tensor twice =
      at::arange(many, at::TensorOptions().dtype(at::kLong).device(small.device())).remainder(few);
  if (are_close(rows_along(small, differs, layout.factor, twice), large))
    layout.kind = ValueLayout::Kind::rows;
  return layout;
}

ValueLayout layout_of(const c10::IValue& small, const c10::IValue& large) {
  ValueLayout layout;
  if (small.isTensor() && large.isTensor()) {
    if (small.toTensor().defined() && large.toTensor().defined())
      return layout_of(small.toTensor(), large.toTensor());
    return layout;
  }
  if (small.isInt() && large.isInt()) {
    if (small.toInt() == large.toInt()) {
      layout.kind = ValueLayout::Kind::fixed;
    } else if (large.toInt() == 2 * small.toInt() && small.toInt() % few == 0) {
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
      } else if (b[i] == 2 * a[i] && a[i] % few == 0) {
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

/// Equal for values that share their memory; 0 for those that have none.
std::size_t memory_of(const c10::IValue& value) {
  if (!value.isTensor() || !value.toTensor().defined() || !value.toTensor().has_storage()) return 0;
  return reinterpret_cast<std::size_t>(value.toTensor().storage().data());
}

/// Two samples that differ, of what may be only one.
at::Tensor two_rows(const at::Tensor& input) {
  if (input.size(0) >= few) return input.slice(0, 0, few);
  const at::Tensor other = input.is_floating_point() ? input * 0.7 + 0.05
                           : input.dim() > 1         ? input.roll({1}, {-1})
                                                     : input;
  return at::cat({input, other});
}

/// Runs the program and gives each value, by its number, to `keep`; without that, all together.
std::vector<c10::IValue> all_values(const ProgramIndex& index,
                                    const std::vector<at::Tensor>& inputs,
                                    std::function<void(std::size_t, c10::IValue)> keep = nullptr) {
  const Program& program = index.program();
  PreparedPass pass;
  pass.keep = std::move(keep);
  SliceRequest request;
  GivenValues given;
  for (std::size_t i = 0; i < program.inputs.size(); ++i) {
    request.given.push_back(program.inputs[i].value);
    given.emplace_back(program.inputs[i].value, inputs[i]);
  }
  for (ValueId id = 0; id < program.value_count; ++id) {
    if (!index.is_outermost(id)) continue;
    ValueActions action;
    action.value = id;
    action.keeps = {static_cast<std::size_t>(id)};
    pass.actions.push_back(std::move(action));
    request.wanted.push_back(id);
    request.acted.push_back(id);
  }
  pass.kept = static_cast<std::size_t>(program.value_count);
  pass.outputs = false;
  pass.slice = std::make_shared<Slice>(index, request);
  return interpret(program, given, pass, {}).kept;
}

}  // namespace

BatchLayout::BatchLayout(const ProgramIndex& index, const std::vector<at::Tensor>& inputs)
    : index_(&index), values_(static_cast<std::size_t>(index.program().value_count)) {
  std::vector<at::Tensor> small, large;
  for (const at::Tensor& input : inputs) {
    small.push_back(two_rows(input));
    large.push_back(at::cat({small.back(), small.back()}));
  }
  std::vector<c10::IValue> of_few = all_values(index, small);
  // While all of them are there: no two have the same memory by chance.
  std::vector<std::size_t> memory(values_.size(), 0);
  for (std::size_t i = 0; i < values_.size(); ++i) memory[i] = memory_of(of_few[i]);
  // Values of the second run go as they are compared, and those of the first with them.
  all_values(index, large, [&](std::size_t i, const c10::IValue& of_many) {
    values_[i] = layout_of(std::exchange(of_few[i], {}), of_many);
    values_[i].memory = memory[i];
  });
}

c10::IValue BatchLayout::select(ValueId id, const c10::IValue& value,
                                const at::Tensor& rows) const {
  const ValueLayout& layout = of(id);
  switch (layout.kind) {
    case ValueLayout::Kind::fixed:
      return value;
    case ValueLayout::Kind::rows:
      return rows_along(value.toTensor(), layout.dimension, layout.factor,
                        rows.to(value.toTensor().device()));
    case ValueLayout::Kind::count:
      return layout.factor * rows.size(0);
    case ValueLayout::Kind::counts: {
      std::vector<std::int64_t> entries = value.toIntVector();
      for (std::size_t i = 0; i < entries.size(); ++i) {
        if (layout.factors[i] != 0) entries[i] = layout.factors[i] * rows.size(0);
      }
      return entries;
    }
    case ValueLayout::Kind::unknown:
      break;
  }
  const std::int32_t producer = index_->producer(id);
  const GraphNode* node =
      producer < 0 ? nullptr
                   : &index_->program().body.nodes[static_cast<std::size_t>(producer)].info;
  throw Error(
      "samples of the run can't be chosen at this cut: what " +
      (node == nullptr
           ? std::string("an input holds")
           : (node->module.empty() ? "" : node->module + "/") + node->operation + " makes") +
      " does not have them in an order that is known. Cut elsewhere, or run the batch whole");
}

double BatchLayout::peak_bytes(const Slice& slice, bool record) const {
  std::unordered_map<std::size_t, int> readers;  // of each memory
  double now = 0, peak = 0, largest = 0;
  const auto take = [&](ValueId id) {
    if (id < 0) return;
    const ValueLayout& layout = of(id);
    largest = std::max(largest, layout.bytes_per_row);
    if (layout.memory != 0 && ++readers[layout.memory] > 1) return;
    now += layout.bytes_per_row;
    peak = std::max(peak, now);
  };
  const auto release = [&](ValueId id) {
    if (id < 0 || record) return;
    const ValueLayout& layout = of(id);
    if (layout.memory != 0 && --readers[layout.memory] > 0) return;
    now -= layout.bytes_per_row;
  };
  for (const ProgramPort& input : index_->program().inputs) take(input.value);
  for (const Slice::Step& step : slice.steps()) {
    const ValueId* ids = slice.ids(step);
    for (std::uint32_t i = 0; i < step.outputs; ++i) take(ids[step.inputs + i]);
    for (std::uint32_t i = 0; i < step.inputs; ++i) {
      if (slice.last(step)[i] != 0) release(ids[i]);
    }
    for (std::uint32_t i = 0; i < step.releases; ++i) release(ids[step.inputs + step.outputs + i]);
  }
  // The backward pass holds two gradients of the largest value beside what was recorded.
  return record ? peak + 2 * largest : peak;
}

}  // namespace microtome::host
