#include "host/model/interpreter.h"

#include <limits>
#include <unordered_map>

#include "host/model/equal_rows.h"
#include "host/model/rule_call.h"
#include "host/support/plain_reason.h"

namespace microtome::host {
namespace {

/// Whether nothing else can see the tensor's memory, so that a result may take its place.
bool is_only_reference(const c10::IValue& value) {
  if (!value.isTensor()) return false;
  const at::Tensor& tensor = value.toTensor();
  return tensor.defined() && tensor.use_count() == 1 && tensor.has_storage() &&
         tensor.storage().use_count() == 1 && tensor.is_non_overlapping_and_dense();
}

/// Whether gradients could come back by any of them.
bool any_recorded(const Stack& values) {
  for (const c10::IValue& value : values) {
    if (value.isTensor() && value.toTensor().defined() && value.toTensor().requires_grad())
      return true;
    if (!value.isTensorList()) continue;
    for (const at::Tensor& tensor : value.toTensorVector()) {
      if (tensor.requires_grad()) return true;
    }
  }
  return false;
}

/// What is handed out is in single precision and lies in memory in the order of its dimensions,
/// whatever the plan computes in.
at::Tensor handed_out(const Program& program, const at::Tensor& value) {
  at::Tensor result = value;
  if (program.reduced_precision && value.scalar_type() == *program.reduced_precision)
    result = result.to(at::kFloat);
  if (program.channels_last && value.dim() >= 4) result = result.contiguous();
  return result;
}

class Run {
 public:
  Run(const Program& program, const PreparedPass& pass, const std::function<void()>& check,
      OperatorWatch* watch, PassResult& result)
      : program_(program),
        pass_(pass),
        check_(check),
        watch_(watch),
        recording_(result.recording),
        kept_(result.kept),
        values_(static_cast<std::size_t>(program.value_count)),
        equal_(program.value_count, pass.rows),
        may_hold_rows_(program.computes_equal_rows_once && !pass.record && pass.rows > 1) {
    if (pass.actions.empty()) return;
    first_action_.resize(values_.size(), none);
    next_action_.resize(pass.actions.size(), none);
    // Backwards, so that a value's actions are met in their order.
    for (std::size_t i = pass.actions.size(); i-- > 0;) {
      std::int32_t& first = first_action_[index(pass.actions[i].value)];
      next_action_[i] = first;
      first = static_cast<std::int32_t>(i);
    }
  }

  /// `is_row`: the value is one row that stands for all.
  void define(ValueId id, c10::IValue value, bool is_row = false) {
    if (id == Slice::ignored) return;
    if (!first_action_.empty() && first_action_[index(id)] != none)
      value = act(id, std::move(value), is_row);
    if (is_row || equal_.any()) equal_.set(id, is_row);
    values_[index(id)] = std::move(value);
  }

  const c10::IValue& read(ValueId id) const {
    return id < 0 ? program_.constant(id) : values_[index(id)];
  }

  /// With all rows, as others see it.
  at::Tensor shown(ValueId id) const { return shown(read(id).toTensor(), equal_.has(id)); }

  void run(const Slice& slice) {
    for (const Slice::Step& step : slice.steps()) {
      if (check_) check_();
      const ValueId* const ids = slice.ids(step);
      const Node& node = *step.node;
      switch (node.kind) {
        case Node::Kind::operation: {
          const char* const last = slice.last(step);
          stack_.clear();
          for (std::uint32_t i = 0; i < step.inputs; ++i) {
            if (last[i] != 0) {
              stack_.push_back(std::move(values_[index(ids[i])]));
              values_[index(ids[i])] = c10::IValue();
            } else {
              stack_.push_back(read(ids[i]));
            }
          }
          const bool on_one_row = equal_.any() && equal_.settle(node, ids, stack_);
          operate(node, ids + step.inputs, step.inputs > 0 && last[0] != 0, on_one_row);
          break;
        }
        case Node::Kind::identity:
          define(ids[1], read(ids[0]), equal_.has(ids[0]));
          break;
        default:
          equal_.spread(values_);
          ++depth_;
          run_other(node);
          --depth_;
      }
      const ValueId* const released = ids + step.inputs + step.outputs;
      for (std::uint32_t i = 0; i < step.releases; ++i) values_[index(released[i])] = c10::IValue();
    }
  }

 private:
  static constexpr std::int32_t none = -1;
  static std::size_t index(ValueId id) { return static_cast<std::size_t>(id); }

  static std::string place(const Node& node) {
    std::string text = node.info.operation;
    if (!node.info.module.empty()) text = node.info.module + "/" + text;
    if (!node.info.source.empty()) text += " (" + node.info.source + ")";
    return text + ": ";
  }

  std::string refusal(const Node& node) const {
    return pass_.rules->refusing_method() + " has no rule for " + node.info.operation +
           (node.info.module.empty() ? "" : " in \"" + node.info.module + "\"") +
           (node.info.source.empty() ? "" : " (" + node.info.source + ")") +
           ", through which the score depends on the value that is credited";
  }

  /// Inside of branches and loops.
  void run(const Block& block) {
    for (const Node& node : block.nodes) {
      if (check_) check_();
      if (node.kind == Node::Kind::operation) {
        stack_.clear();
        for (const ValueId id : node.inputs) stack_.push_back(read(id));
        operate(node, node.outputs.data(), false);
      } else {
        run_other(node);
      }
      for (const ValueId id : node.last_uses) values_[index(id)] = c10::IValue();
    }
  }

  void run_other(const Node& node) {
    switch (node.kind) {
      case Node::Kind::operation:
        break;
      case Node::Kind::identity:
        define(node.outputs[0], read(node.inputs[0]));
        break;
      case Node::Kind::branch:
        branch(node);
        break;
      case Node::Kind::loop:
        loop(node);
        break;
      case Node::Kind::raise:
        throw Error(place(node) + "the model raised an exception: " +
                    (node.inputs.empty() ? std::string("(no message)")
                                         : read(node.inputs[0]).toStringRef()));
    }
  }

  /// Calls it on the arguments in the stack. `owned`: the first one has no other reader.
  /// `on_one_row`: they are rows that stand for all.
  void operate(const Node& node, const ValueId* outputs, bool owned, bool on_one_row = false) {
    try {
      const WatchedOperator watched(watch_, node);
      const bool by_rules = pass_.rules != nullptr && pass_.record && any_recorded(stack_);
      const BackwardRule* rule = by_rules ? pass_.rules->find(node.info) : nullptr;
      if (rule != nullptr && *rule) {
        ruled_.call(node, *rule, pass_.layout, stack_);
      } else if (owned && node.call_in_place && !pass_.record && is_only_reference(stack_[0])) {
        node.call_in_place(stack_);
      } else if (by_rules && rule == nullptr && !pass_.rules->refusing_method().empty()) {
        call_without_rule(node, stack_, refusal(node));
      } else {
        node.call(stack_);
      }
    } catch (const Error&) {
      throw;
    } catch (const std::exception& error) {
      throw Error(place(node) + plain_reason(error));
    }
    if (stack_.size() != node.outputs.size()) {
      throw Error(place(node) + "returned " + std::to_string(stack_.size()) + " values for " +
                  std::to_string(node.outputs.size()));
    }
    for (std::size_t i = 0; i < node.outputs.size(); ++i) {
      // A constant with rows of its own gives all of them.
      const bool is_row = on_one_row && stack_[i].toTensor().size(0) == 1;
      define(outputs[i], std::move(stack_[i]), is_row);
    }
  }

  void branch(const Node& node) {
    const Block& taken = node.blocks[read(node.inputs[0]).toBool() ? 0 : 1];
    run(taken);
    for (std::size_t i = 0; i < node.outputs.size(); ++i) {
      define(node.outputs[i], read(taken.results[i]));
    }
    release(taken);
  }

  void loop(const Node& node) {
    const Block& body = node.blocks[0];
    const std::int64_t trips = read(node.inputs[0]).toInt();
    bool go_on = read(node.inputs[1]).toBool();
    Stack carried;
    for (std::size_t i = 2; i < node.inputs.size(); ++i) carried.push_back(read(node.inputs[i]));
    for (std::int64_t trip = 0; trip < trips && go_on; ++trip) {
      define(body.parameters[0], trip);
      for (std::size_t i = 0; i < carried.size(); ++i) {
        define(body.parameters[i + 1], std::move(carried[i]));
      }
      run(body);
      go_on = read(body.results[0]).toBool();
      for (std::size_t i = 0; i < carried.size(); ++i) carried[i] = read(body.results[i + 1]);
    }
    release(body);
    for (std::size_t i = 0; i < carried.size(); ++i) define(node.outputs[i], std::move(carried[i]));
  }

  /// A block's results outlive its last node; they are let go when they have been handed on.
  void release(const Block& block) {
    for (const ValueId id : block.results) {
      if (id < 0) continue;
      for (const Node& node : block.nodes) {
        for (const ValueId output : node.outputs) {
          if (output == id) values_[index(id)] = c10::IValue();
        }
      }
    }
  }

  /// Calls `what` with the actions that are meant for this making of the value.
  template <class What>
  void for_actions(ValueId id, int execution, What what) const {
    for (std::int32_t i = first_action_[index(id)]; i != none; i = next_action_[index(i)]) {
      const ValueActions& action = pass_.actions[index(i)];
      if (action.execution == 0 || action.execution == execution) what(action);
    }
  }

  /// How often the value has been made, this time included, where some action asks for it.
  int count(ValueId id) {
    for (std::int32_t i = first_action_[index(id)]; i != none; i = next_action_[index(i)]) {
      if (pass_.actions[index(i)].execution != 0) return ++executions_[id];
    }
    return 0;
  }

  c10::IValue act(ValueId id, c10::IValue value, bool& is_row) {
    const auto first = index(first_action_[index(id)]);
    const ValueActions& only = pass_.actions[first];
    if (next_action_[first] == none && only.execution == 0) {
      if (value.isTensor() && value.toTensor().defined()) act(only, value, is_row);
      keep(only, value, is_row);
      return value;
    }
    const int execution = count(id);
    if (value.isTensor() && value.toTensor().defined()) {
      for_actions(id, execution, [&](const ValueActions& action) { act(action, value, is_row); });
    }
    for_actions(id, execution, [&](const ValueActions& action) { keep(action, value, is_row); });
    return value;
  }

  void keep(const ValueActions& action, const c10::IValue& value, bool is_row) {
    for (const std::size_t place : action.keeps) {
      c10::IValue whole = all_rows(value, is_row);
      if (pass_.keep) {
        pass_.keep(place, std::move(whole));
      } else {
        kept_[place] = std::move(whole);
      }
    }
  }

  c10::IValue all_rows(const c10::IValue& value, bool is_row) const {
    return is_row ? c10::IValue(equal_.all(value.toTensor())) : value;
  }

  at::Tensor shown(const at::Tensor& value, bool is_row) const {
    return handed_out(program_, is_row ? equal_.all(value) : value);
  }

  static const Axes& axes_of(const ValueView& view) {
    static const Axes none;
    return view.axes == nullptr ? none : *view.axes;
  }

  /// Whether the value is handed out as it is.
  bool is_plain(const ValueView& view) const {
    return view.samples == OfSamples::each && view.place.is_first() && !pass_.is_doubled &&
           view.refusal.empty();
  }

  /// The way back of `handed`, into a value like this one.
  at::Tensor in_network(const ValueView& view, const at::Tensor& handed,
                        const at::Tensor& like) const {
    if (view.samples == OfSamples::none) {
      if (handed.size(0) > 1 && !handed.equal(handed.slice(0, 0, 1).expand_as(handed)))
        throw Error(
            "the value is the same for all samples of a run, so it can't become different ones; "
            "replace it by one row");
      return handed.slice(0, 0, 1).reshape(like.sizes());
    }
    std::vector<std::int64_t> sizes = handed.sizes().vec();
    sizes.at(0) = pass_.rows;
    return view.place.in_network(handed.expand(sizes)).reshape(like.sizes());
  }

 public:
  /// The value with samples first, one row for each sample of the run.
  at::Tensor handed(const ValueView& view, const at::Tensor& value) const {
    if (is_plain(view)) return value;
    if (!view.refusal.empty()) throw Error(view.refusal);
    const std::int64_t samples = pass_.is_doubled ? 1 : pass_.rows;
    if (view.samples == OfSamples::none) {
      std::vector<std::int64_t> sizes = value.sizes().vec();
      if (sizes.empty() || sizes[0] != 1) sizes.insert(sizes.begin(), 1);
      const at::Tensor row = value.reshape(sizes);
      sizes[0] = samples;
      return row.expand(sizes);
    }
    const at::Tensor first = view.place.samples_first(value, pass_.rows);
    return pass_.is_doubled ? first.slice(0, 0, 1) : first;
  }

 private:
  void act(const ValueActions& action, c10::IValue& value, bool& is_row) {
    const ValueView& view = action.view;
    const bool plain = is_plain(view);
    for (const Edit* edit : action.edits) {
      const at::Tensor whole = all_rows(value, is_row).toTensor();
      const at::Tensor next =
          plain ? edited(*edit, view, whole) : edited_elsewhere(*edit, view, whole);
      if (next.is_same(whole)) continue;
      is_row = next.dim() > 0 && next.size(0) < whole.size(0);
      value = next;
    }
    if (!action.differentiate.empty()) {
      const at::Tensor& tensor = value.toTensor();
      if (!tensor.is_floating_point())
        throw Error("a value that gradients are asked by is not a real number");
      if (view.samples == OfSamples::none)
        throw Error(
            "a value that is the same for all samples has no gradient for each of them; name one "
            "that is computed from the samples");
      if (!plain) {
        const at::Tensor whole = handed(view, tensor);
        const at::Tensor leaf =
            whole.requires_grad() ? at::alias(whole) : whole.detach().requires_grad_();
        for (const std::size_t place : action.differentiate)
          recording_.differentiated[place] = leaf;
        value = in_network(view, leaf, tensor);
      } else {
        // The same tensor may go by another name (an identity, a `contiguous` without effect); a
        // gradient asked at this name must not include what flows through the other.
        value = tensor.requires_grad() ? at::alias(tensor) : tensor.detach().requires_grad_();
        for (const std::size_t place : action.differentiate)
          recording_.differentiated[place] = value.toTensor();
      }
    }
    for (const auto& [place, selector] : action.captures) {
      at::Tensor whole = handed(view, shown(value.toTensor(), is_row));
      if (view.axes != nullptr) recording_.axes[place] = remaining_axes(*view.axes, *selector);
      recording_.captured[place] = selector->empty()
                                       ? std::move(whole)
                                       : select(whole, *selector, axes_of(view), pass_.directions);
    }
  }

  /// What the edit makes of a value; one row where that stands for all and may be held so.
  at::Tensor edited(const Edit& edit, const ValueView& view, const at::Tensor& value) const {
    const auto format = value.suggest_memory_format();
    if (edit.value.defined() && edit.at.selector.empty()) {
      const bool reduced =
          program_.reduced_precision && value.scalar_type() == *program_.reduced_precision;
      demand_alike(edit, edit.value, value, reduced ? at::kFloat : value.scalar_type());
      return held(edit.value.to(value.scalar_type()), value).contiguous(format);
    }
    const at::Tensor whole = handed_out(program_, value);
    const at::Tensor part = select(whole, edit.at.selector, axes_of(view), pass_.directions);
    const at::Tensor replacement = edit.value.defined() ? edit.value : edit.apply(part);
    if (replacement.is_same(part)) return value;
    demand_alike(edit, replacement, part, part.scalar_type());
    if (!edit.at.selector.empty())
      return assign(whole, edit.at.selector, axes_of(view), replacement).to(value.scalar_type());
    const at::Tensor stands = held(replacement.to(value.scalar_type()), value);
    return program_.channels_last ? stands.contiguous(format) : stands;
  }

  /// The same for a value that has its samples elsewhere than first, or none.
  at::Tensor edited_elsewhere(const Edit& edit, const ValueView& view,
                              const at::Tensor& value) const {
    const at::Tensor whole = handed(view, handed_out(program_, value));
    const at::Tensor part = select(whole, edit.at.selector, axes_of(view), pass_.directions);
    const at::Tensor replacement = edit.value.defined() ? edit.value : edit.apply(part);
    if (replacement.is_same(part)) return value;
    demand_alike(edit, replacement, part, part.scalar_type());
    const at::Tensor next = assign(whole, edit.at.selector, axes_of(view), replacement);
    return in_network(view, next, value).to(value.scalar_type());
  }

  /// What stands in the place of `value`: as it is, or one row of it.
  at::Tensor held(const at::Tensor& replacement, const at::Tensor& value) const {
    const bool is_row = replacement.sizes() != value.sizes();
    if (is_row && may_hold_rows_ && depth_ == 0 && value.size(0) == pass_.rows) return replacement;
    return assign(value, {}, {}, replacement);
  }

  static void demand_alike(const Edit& edit, const at::Tensor& replacement, const at::Tensor& part,
                           at::ScalarType type) {
    const auto fits = [&] {
      if (!replacement.defined() || replacement.scalar_type() != type) return false;
      if (replacement.sizes() == part.sizes()) return true;
      return part.dim() > 0 && replacement.dim() == part.dim() && replacement.size(0) == 1 &&
             replacement.sizes().slice(1) == part.sizes().slice(1);
    };
    if (!fits()) {
      throw Error("the edit at \"" + edit.at.text() +
                  "\" must return what it got in shape and type, or one row of it");
    }
  }

  const Program& program_;
  const PreparedPass& pass_;
  const std::function<void()>& check_;
  OperatorWatch* watch_;
  Recording& recording_;
  std::vector<c10::IValue>& kept_;
  std::vector<c10::IValue> values_;
  EqualRows equal_;
  bool may_hold_rows_;
  int depth_ = 0;  ///< of branches and loops around the node that runs
  /// Of each value the first of its actions, and of each action the next of the same value.
  std::vector<std::int32_t> first_action_, next_action_;
  std::unordered_map<ValueId, int> executions_;  ///< of values that loops make
  Stack stack_;
  RuledCalls ruled_;
};

}  // namespace

PassResult interpret(const Program& program, const GivenValues& given, const PreparedPass& pass,
                     const std::function<void()>& check, OperatorWatch* watch) {
  const at::AutoGradMode mode(pass.record);
  PassResult result;
  result.recording.captured.resize(pass.captures);
  result.recording.axes.resize(pass.captures);
  result.recording.differentiated.resize(pass.differentiated);
  result.kept.resize(pass.kept);
  Run run(program, pass, check, watch, result);
  for (const auto& [id, value] : given) run.define(id, value);
  run.run(*pass.slice);
  if (!pass.outputs) return result;
  for (std::size_t i = 0; i < program.outputs.size(); ++i) {
    const ProgramPort& output = program.outputs[i];
    const ValueId value = pass.slice->named(output.value);
    if (!run.read(value).isTensor()) continue;
    if (pass.outputs_as.empty()) {
      result.recording.outputs.set(output.name, run.shown(value));
    } else if (!pass.outputs_as[i].refusal.empty()) {
      result.recording.refused_outputs.emplace_back(output.name, pass.outputs_as[i].refusal);
    } else {
      result.recording.outputs.set(output.name, run.handed(pass.outputs_as[i], run.shown(value)));
    }
  }
  return result;
}

}  // namespace microtome::host
