#include "host/model/batch_layout.h"

#include <algorithm>
#include <functional>
#include <set>
#include <unordered_map>
#include <utility>

#include "host/model/interpreter.h"

namespace microtome::host {
namespace {

constexpr std::int64_t few = 2, many = 3;

/// Equal for values that share their memory; 0 for those that have none.
std::size_t memory_of(const c10::IValue& value) {
  if (!value.isTensor() || !value.toTensor().defined() || !value.toTensor().has_storage()) return 0;
  return reinterpret_cast<std::size_t>(value.toTensor().storage().data());
}

/// A row like this one that differs from it; itself where none can be made.
at::Tensor another(const at::Tensor& row) {
  if (row.is_floating_point()) return row * 0.7 + 0.05;
  if (row.is_complex()) return row * 0.7;
  if (row.dim() > 1) {
    const at::Tensor rolled = row.roll({1}, {-1});
    if (!rolled.equal(row)) return rolled;
  }
  // The same number everywhere; 0 and 1 exist in every vocabulary.
  if (row.scalar_type() == at::kBool || row.numel() == 0) return row;
  return at::where(row == 0, at::ones_like(row), at::zeros_like(row));
}

/// Three samples, the first two of which differ, of what may be fewer.
at::Tensor three_rows(const at::Tensor& input) {
  const at::Tensor first = input.slice(0, 0, 1);
  at::Tensor second = input.size(0) > 1 ? input.slice(0, 1, 2) : another(first);
  if (second.equal(first)) second = another(first);
  const at::Tensor third = input.size(0) > 2 ? input.slice(0, 2, 3) : another(second);
  return at::cat({first, second, third});
}

/// Samples of which none is made up: the given ones again where they are fewer.
at::Tensor rows_given(const at::Tensor& input, std::int64_t count) {
  const at::Tensor places = at::arange(count, at::kLong).remainder(input.size(0));
  return input.index_select(0, places.to(input.device()));
}

/// What branches and loops give, whatever they lie in.
void add_results(const Block& block, std::set<ValueId>& values) {
  for (const Node& node : block.nodes) {
    if (!node.blocks.empty()) values.insert(node.outputs.begin(), node.outputs.end());
    for (const Block& inner : node.blocks) {
      values.insert(inner.results.begin(), inner.results.end());
      add_results(inner, values);
    }
  }
}

using Keep = std::function<void(ValueId, const c10::IValue&)>;

/// Runs the program and gives each value to `keep` as often as it is made.
void run_all(const ProgramIndex& index, const std::vector<at::Tensor>& inputs, const Keep& keep) {
  const Program& program = index.program();
  PreparedPass pass;
  pass.keep = [&](std::size_t place, c10::IValue value) {
    keep(static_cast<ValueId>(place), value);
  };
  SliceRequest request;
  GivenValues given;
  for (std::size_t i = 0; i < program.inputs.size(); ++i) {
    request.given.push_back(program.inputs[i].value);
    given.emplace_back(program.inputs[i].value,
                       inputs[i].defined() ? c10::IValue(inputs[i]) : c10::IValue());
  }
  std::set<ValueId> hooked;
  for (const HookSite& site : program.sites) hooked.insert(site.value);
  add_results(program.body, hooked);
  for (ValueId id = 0; id < program.value_count; ++id) {
    const bool outermost = index.is_outermost(id);
    // Inside of branches and loops only what can be asked for, and what leaves them.
    if (!outermost && !hooked.contains(id)) continue;
    ValueActions action;
    action.value = id;
    action.keeps = {static_cast<std::size_t>(id)};
    pass.actions.push_back(std::move(action));
    request.acted.push_back(id);
    if (outermost) request.wanted.push_back(id);
  }
  pass.kept = static_cast<std::size_t>(program.value_count);
  pass.outputs = false;
  pass.slice = std::make_shared<Slice>(index, request);
  static_cast<void>(interpret(program, given, pass, {}));
}

/// What a value was, each time that it was made.
using Makings = std::vector<std::vector<c10::IValue>>;

/// Operators that keep the order in which the entries of a tensor lie.
bool keeps_order(const std::string& operation) {
  static const std::set<std::string> names = {
      "aten::view",  "aten::reshape",      "aten::flatten", "aten::unflatten", "aten::contiguous",
      "aten::clone", "aten::_unsafe_view", "aten::view_as", "aten::reshape_as"};
  return names.contains(operation);
}

}  // namespace

std::int64_t samples_in(const std::vector<at::Tensor>& inputs) {
  const auto first = std::find_if(inputs.begin(), inputs.end(), holds_samples);
  return first == inputs.end() ? 0 : first->size(0);
}

BatchLayout::BatchLayout(const ProgramIndex& index, const std::vector<at::Tensor>& inputs)
    : index_(&index), values_(static_cast<std::size_t>(index.program().value_count)) {
  const at::NoGradGuard no_gradients;
  std::vector<at::Tensor> three, given, one;
  for (const at::Tensor& input : inputs) {
    three.push_back(holds_samples(input) ? three_rows(input) : input);
    given.push_back(holds_samples(input) ? rows_given(input, many) : input);
    one.push_back(holds_samples(input) ? input.slice(0, 0, 1) : input);
  }
  // A network may refuse numbers that were made up for it.
  if (compares(three)) {
    failure_.clear();
    try_extremes(three);
  } else if (compares(given)) {
    failure_.clear();
    try_extremes(given);
  } else if (samples_in(inputs) > 1 && learn_alone(inputs)) {
    sample_count_ = SampleCount::fixed;
  } else if (learn_alone(one)) {
    sample_count_ = SampleCount::one;
  } else {
    const std::int64_t traced_for = only_count(inputs);
    if (traced_for > 0)
      failure_ = "the network was traced for " + std::to_string(traced_for) +
                 " samples and takes no other number; export it with a free one (take it from "
                 "x.shape[0]). Otherwise it fails: " +
                 failure_;
    trial_samples_ = few;
    is_partial_ = true;
    values_.assign(values_.size(), {});
    compare(given, /*may_fail=*/true);
  }
  settle();
  find_coupling();
}

BatchLayout::BatchLayout(const ProgramIndex& index, const std::vector<at::Tensor>& inputs,
                         const BatchLayout& given)
    : index_(&index),
      values_(given.values_),
      sample_count_(given.sample_count_),
      trial_samples_(few),
      failure_(given.failure_),
      mixed_(given.mixed_) {
  const at::NoGradGuard no_gradients;
  // None that is made up: the network may refuse those.
  std::vector<at::Tensor> two;
  for (const at::Tensor& input : inputs)
    two.push_back(holds_samples(input) ? rows_given(input, few) : input);
  std::vector<c10::IValue> made(values_.size());  // all at once: no two have a memory by chance
  run_all(index, two, [&](ValueId id, const c10::IValue& value) {
    c10::IValue& first = made[static_cast<std::size_t>(id)];
    if (first.isNone()) first = value;
  });
  for (std::size_t i = 0; i < values_.size(); ++i) {
    ValueLayout& layout = values_[i];
    layout.memory = memory_of(made[i]);
    if (layout.memory == 0 || made[i].toTensor().layout() != at::kStrided) continue;
    layout.type = made[i].toTensor().scalar_type();
    layout.sizes = made[i].toTensor().sizes().vec();
    if (layout.kind == ValueLayout::Kind::rows)
      layout.bytes_per_row = static_cast<double>(made[i].toTensor().nbytes()) / few;
  }
}

bool BatchLayout::compares(const std::vector<at::Tensor>& three) {
  values_.assign(values_.size(), {});
  sample_count_ = SampleCount::any;
  try {
    compare(three, /*may_fail=*/false);
    return true;
  } catch (const Error& error) {
    failure_ = error.what();
    return false;
  }
}

void BatchLayout::compare(const std::vector<at::Tensor>& three, bool may_fail) {
  const auto try_on = [&](const std::vector<at::Tensor>& inputs, const Keep& keep) {
    try {
      run_all(*index_, inputs, keep);
    } catch (const Error&) {
      if (!may_fail) throw;
    }
  };
  const auto rows = [&](std::int64_t from, std::int64_t to) {
    std::vector<at::Tensor> some;
    for (const at::Tensor& input : three)
      some.push_back(holds_samples(input) ? input.slice(0, from, to) : input);
    return some;
  };
  Makings of_few(values_.size());
  try_on(rows(0, few), [&](ValueId id, const c10::IValue& value) {
    of_few[static_cast<std::size_t>(id)].push_back(value);
  });
  // While all of them are there: no two have the same memory by chance.
  for (std::size_t i = 0; i < values_.size(); ++i) {
    if (of_few[i].size() == 1) values_[i].memory = memory_of(of_few[i][0]);
  }
  std::vector<std::size_t> times(values_.size(), 0);
  std::vector<char> differs(values_.size(), 0);
  try_on(three, [&](ValueId id, const c10::IValue& value) {
    const auto i = static_cast<std::size_t>(id);
    const std::size_t time = times[i]++;
    if (time >= of_few[i].size()) return;
    ValueLayout layout = compare_values(of_few[i][time], value, few, many);
    layout.memory = values_[i].memory;
    if (time == 0) {
      values_[i] = std::move(layout);
    } else if (layout.kind != values_[i].kind || layout.place != values_[i].place) {
      differs[i] = 1;
    }
  });
  // A value that a loop makes is known when it is alike each time.
  for (std::size_t i = 0; i < values_.size(); ++i) {
    if (differs[i] != 0) values_[i].kind = ValueLayout::Kind::unknown;
    // As often as there are samples: it is of one of them each time.
    if (times[i] != of_few[i].size() && values_[i].kind == ValueLayout::Kind::fixed)
      values_[i].kind = ValueLayout::Kind::unknown;
  }
  // On each of two samples alone; where that goes wrong, on both in the other order and on
  // each twice, where another value for a sample can only come from the samples beside it.
  const auto confirm = [&](const std::vector<std::int64_t>& copies) {
    std::vector<at::Tensor> inputs;
    const at::Tensor places = at::tensor(copies, at::kLong);
    for (const at::Tensor& input : three)
      inputs.push_back(holds_samples(input) ? input.index_select(0, places.to(input.device()))
                                            : input);
    const bool is_alone = copies.size() == 1;
    bool is_alike = true;
    std::fill(times.begin(), times.end(), 0);
    try_on(inputs, [&](ValueId id, const c10::IValue& value) {
      const auto i = static_cast<std::size_t>(id);
      const std::size_t time = times[i]++;
      if (time >= of_few[i].size()) return;
      if (confirm_layout(values_[i], of_few[i][time], value, few, copies)) return;
      is_alike = false;
      if (!is_alone) values_[i].independent = false;
    });
    return is_alike;
  };
  try {
    if (confirm({1}) && confirm({0})) return;
  } catch (const Error&) {
    // It does not take one alone.
  }
  sample_count_ = SampleCount::several;
  confirm({1, 0});
  confirm({0, 0});
  confirm({1, 1});
}

void BatchLayout::try_extremes(const std::vector<at::Tensor>& three) {
  // What takes the samples together: only then can one of them decide for another.
  const auto joins = [](const ValueLayout& layout) {
    return layout.kind == ValueLayout::Kind::unknown &&
           layout.doubt == ValueLayout::Doubt::same_size;
  };
  const auto joining = std::find_if(values_.begin(), values_.end(), joins);
  if (joining == values_.end() || index_->program().samples_may_mix) return;
  const std::vector<ProgramPort>& outputs = index_->program().outputs;
  const auto outputs_on = [&](double factor) {
    std::vector<at::Tensor> inputs;
    for (const at::Tensor& input : three) {
      inputs.push_back(input);
      if (!holds_samples(input) || !input.is_floating_point()) continue;
      inputs.back() = input.clone();
      inputs.back()[many - 1].mul_(factor);
    }
    std::vector<c10::IValue> found(outputs.size());
    run_all(*index_, inputs, [&](ValueId id, const c10::IValue& value) {
      for (std::size_t i = 0; i < outputs.size(); ++i) {
        if (outputs[i].value == id) found[i] = value;
      }
    });
    return found;
  };
  const std::vector<std::int64_t> others = {0, 1};
  const std::vector<c10::IValue> plain = outputs_on(1);
  for (const double factor : {1e3, -1e3}) {
    std::vector<c10::IValue> extreme;
    try {
      extreme = outputs_on(factor);
    } catch (const Error&) {
      continue;  // it may refuse such numbers
    }
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      ValueLayout* const layout =
          outputs[i].value < 0 ? nullptr : &values_[static_cast<std::size_t>(outputs[i].value)];
      if (layout == nullptr || layout->kind != ValueLayout::Kind::rows || !extreme[i].isTensor())
        continue;
      const at::Tensor rows =
          rows_at(extreme[i].toTensor(), layout->place, many, at::tensor(others, at::kLong));
      ValueLayout tried = *layout;
      if (confirm_layout(tried, plain[i], rows, many, others)) continue;
      layout->independent = false;
      mixed_ = static_cast<ValueId>(joining - values_.begin());
    }
  }
}

void BatchLayout::confirm_in_another_order(const std::vector<at::Tensor>& inputs,
                                           const std::vector<c10::IValue>& made) {
  const std::int64_t samples = samples_in(inputs);
  const at::Tensor order = (at::arange(samples, at::kLong) + 1).remainder(samples);
  const std::vector<std::int64_t> copies(order.data_ptr<std::int64_t>(),
                                         order.data_ptr<std::int64_t>() + samples);
  std::vector<at::Tensor> turned;
  for (const at::Tensor& input : inputs)
    turned.push_back(holds_samples(input) ? input.index_select(0, order.to(input.device()))
                                          : input);
  run_all(*index_, turned, [&](ValueId id, const c10::IValue& value) {
    const c10::IValue& before = made[static_cast<std::size_t>(id)];
    if (before.isNone()) return;
    ValueLayout& layout = values_[static_cast<std::size_t>(id)];
    if (confirm_layout(layout, before, value, samples, copies)) return;
    layout.kind = ValueLayout::Kind::unknown;
    layout.doubt = ValueLayout::Doubt::order;
  });
}

bool BatchLayout::learn_alone(const std::vector<at::Tensor>& inputs) {
  values_.assign(values_.size(), {});
  const std::int64_t samples = trial_samples_ = samples_in(inputs);
  std::vector<c10::IValue> made(values_.size());
  try {
    run_all(*index_, inputs, [&](ValueId id, const c10::IValue& value) {
      ValueLayout& layout = values_[static_cast<std::size_t>(id)];
      if (!value.isTensor() || !value.toTensor().defined()) return;
      const at::Tensor& tensor = value.toTensor();
      if (tensor.layout() != at::kStrided) return;
      layout.type = tensor.scalar_type();
      layout.sizes = tensor.sizes().vec();
      layout.bytes_per_row = static_cast<double>(tensor.nbytes()) / static_cast<double>(samples);
      // The samples are where the size is theirs, when that is in one place alone; of one sample
      // also in front, as every size is 1 there.
      const auto& sizes = layout.sizes;
      const auto first = std::find(sizes.begin(), sizes.end(), samples);
      if (first == sizes.end()) return;
      const bool is_only = std::count(sizes.begin(), sizes.end(), samples) == 1;
      if (!is_only && !(samples == 1 && first == sizes.begin())) return;
      layout.kind = ValueLayout::Kind::rows;
      layout.place.dimension = first - sizes.begin();
      made[static_cast<std::size_t>(id)] = value;
    });
    if (samples > 1 && !index_->program().samples_may_mix) confirm_in_another_order(inputs, made);
  } catch (const Error&) {
    return false;
  }
  // A size of 1 fits many others; the network takes the samples when it gives them back.
  const auto& outputs = index_->program().outputs;
  return std::all_of(outputs.begin(), outputs.end(), [this](const ProgramPort& output) {
    return output.value < 0 || of(output.value).kind == ValueLayout::Kind::rows;
  });
}

std::int64_t BatchLayout::only_count(const std::vector<at::Tensor>& inputs) {
  for (const std::int64_t count : {2, 4, 8, 16, 32, 64}) {
    std::vector<at::Tensor> some;
    for (const at::Tensor& input : inputs)
      some.push_back(holds_samples(input) ? rows_given(input, count) : input);
    if (learn_alone(some)) return count;
  }
  return 0;
}

/// Of several places that fit, that which follows from what the value is made of.
void BatchLayout::settle() {
  const auto decide = [](ValueLayout& layout, const SamplePlace& place) {
    layout.kind = ValueLayout::Kind::rows;
    layout.place = place;
    layout.candidates.clear();
  };
  for (ValueLayout& layout : values_) {
    if (layout.candidates.size() == 1) decide(layout, layout.candidates[0]);
  }
  for (const Node& node : index_->program().body.nodes) {
    for (const ValueId output : node.outputs) {
      ValueLayout& layout = values_[static_cast<std::size_t>(output)];
      if (layout.candidates.size() < 2) continue;
      for (const ValueId input : node.inputs) {
        if (input < 0 || of(input).kind != ValueLayout::Kind::rows) continue;
        const SamplePlace& from = of(input).place;
        const auto known = [&](const SamplePlace& place) {
          if (of(input).sizes == layout.sizes) return place == from;
          // Samples that are outermost stay so, in what is the same in another shape.
          return keeps_order(node.info.operation) && input == node.inputs[0] &&
                 from.dimension == 0 && from.outer == 1 && place.dimension == 0 && place.outer == 1;
        };
        const auto found = std::find_if(layout.candidates.begin(), layout.candidates.end(), known);
        if (found == layout.candidates.end()) continue;
        decide(layout, SamplePlace(*found));
        break;
      }
    }
  }
}

void BatchLayout::find_coupling() {
  if (index_->program().samples_may_mix) return;
  if (sample_count_ != SampleCount::any && sample_count_ != SampleCount::several) return;
  const auto is_mixed = [this](ValueId value) {
    return of(value).kind == ValueLayout::Kind::rows && !of(value).independent;
  };
  const Program& program = index_->program();
  const bool reaches_an_output = std::any_of(
      program.outputs.begin(), program.outputs.end(),
      [&](const ProgramPort& output) { return output.value >= 0 && is_mixed(output.value); });
  if (!reaches_an_output) return;
  sample_count_ = SampleCount::coupled;
  if (mixed_ >= 0) return;
  for (const Node& node : program.body.nodes) {
    for (const ValueId output : node.outputs) {
      if (!is_mixed(output)) continue;
      mixed_ = output;
      return;
    }
  }
}

std::string BatchLayout::maker(ValueId value) const {
  // An output is often a copy for the network's end, which nobody wrote.
  std::int32_t producer = index_->producer(value);
  while (producer >= 0) {
    const Node& node = index_->program().body.nodes[static_cast<std::size_t>(producer)];
    if (node.info.operation != "microtome::identity" || node.inputs.empty() || node.inputs[0] < 0)
      break;
    producer = index_->producer(node.inputs[0]);
  }
  if (producer < 0) return "what an input holds";
  const GraphNode& info = index_->program().body.nodes[static_cast<std::size_t>(producer)].info;
  return "what " + (info.module.empty() ? "" : info.module + "/") + info.operation + " makes" +
         (info.source.empty() ? "" : " (" + info.source + ")");
}

std::string BatchLayout::one_at_a_time() const {
  switch (sample_count_) {
    case SampleCount::one:
      return "takes one sample at a time, as it was traced for one: export it with a free number "
             "of samples, or run it in chunks of one (runtime: {chunk: 1}) by stages that need no "
             "more at once. On several it fails: " +
             failure_;
    case SampleCount::coupled:
      return "gives for a sample what depends on the samples beside it: " +
             (mixed_ < 0 ? std::string() : maker(mixed_) + " mixes them. ") +
             "An LSTM or an encoder that takes positions first, a softmax or a mean over dimension "
             "0, a branch or a clamp by the largest value of all do that. Mend the network "
             "(batch_first=True, another dimension), or run each sample alone: runtime: {chunk: "
             "1}";
    default:
      return {};
  }
}

std::vector<std::int64_t> BatchLayout::shape(ValueId value) const {
  return of(value).shape(trial_samples_);
}

std::string BatchLayout::refusal(ValueId value) const {
  const std::string what = maker(value);
  if (of(value).candidates.size() > 1)
    return what + " may hold the samples in " + std::to_string(of(value).candidates.size()) +
           " different orders, all of which fit the network's trial runs";
  switch (of(value).doubt) {
    case ValueLayout::Doubt::same_size:
      return what +
             " is as large for any number of samples: it joins them, or the network was traced for "
             "a fixed number; then export it with a free one (take it from x.shape[0])";
    case ValueLayout::Doubt::several_dimensions:
      return what +
             " has the samples along several dimensions, as a table of pairs does; hook what it is "
             "made from";
    case ValueLayout::Doubt::order:
      break;
  }
  return what + " does not hold its samples in an order that is known";
}

c10::IValue BatchLayout::select(ValueId id, const c10::IValue& value, std::int64_t samples,
                                const at::Tensor& rows) const {
  const ValueLayout& layout = of(id);
  if (samples == 1 && rows.size(0) == 1) return value;
  switch (layout.kind) {
    case ValueLayout::Kind::fixed:
      return value;
    case ValueLayout::Kind::rows:
      if (!layout.independent) break;
      return rows_at(value.toTensor(), layout.place, samples, rows);
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
  throw Error("samples of the run can't be chosen at this cut: " + refusal(id) +
              ". Cut elsewhere, or run the batch whole");
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
