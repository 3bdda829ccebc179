// Running a program: passes made ready, snapshots, and what comes after a cut.
#include <algorithm>

#include "host/model/program_model.h"

namespace microtome::host {

/// The values that a run from a cut needs.
class ProgramSnapshot final : public Snapshot {
 public:
  ProgramSnapshot(std::shared_ptr<const ProgramModel> model, std::vector<ValueId> cut,
                  GivenValues values, std::int64_t rows, std::vector<at::Tensor> examples)
      : model_(std::move(model)),
        cut_(std::move(cut)),
        values_(std::move(values)),
        rows_(rows),
        examples_(std::move(examples)) {}

  std::int64_t rows() const override { return rows_; }
  std::shared_ptr<const Snapshot> select(const at::Tensor& rows) const override {
    const BatchLayout& layout = *model_->trial(examples_).layout;
    const bool never_alone = layout.sample_count() == SampleCount::several;
    const std::int64_t held = never_alone && rows_ == 1 ? 2 : rows_;
    const at::Tensor taken = never_alone && rows.size(0) == 1 ? rows.repeat({2}) : rows;
    GivenValues chosen;
    chosen.reserve(values_.size());
    for (const auto& [id, value] : values_)
      chosen.emplace_back(id, layout.select(id, value, held, taken));
    return std::make_shared<ProgramSnapshot>(model_, cut_, std::move(chosen), rows.size(0),
                                             examples_);
  }

  const ProgramModel& model() const { return *model_; }
  const std::vector<ValueId>& cut() const { return cut_; }
  const GivenValues& values() const { return values_; }
  const std::vector<at::Tensor>& examples() const { return examples_; }

 private:
  std::shared_ptr<const ProgramModel> model_;
  std::vector<ValueId> cut_;
  GivenValues values_;
  std::int64_t rows_;
  std::vector<at::Tensor> examples_;  ///< of the inputs; tell how values depend on the samples
};

namespace {

/// Slices that are kept for the next pass of the same kind.
constexpr std::size_t most_slices = 256;

}  // namespace

ValueId ProgramModel::value_of(const HookPoint& hook) const {
  int execution = 0;
  return site(hook, execution).value;
}

ValueId ProgramModel::outermost(const HookSite& site) const {
  if (site.value < 0 || index_.is_outermost(site.value)) return site.value;
  const auto& made = program_.body.nodes[static_cast<std::size_t>(index_.producer(site.value))];
  return made.outputs.empty() ? site.value : made.outputs[0];
}

bool ProgramModel::is_computed_from(const HookPoint& later, const HookPoint& from) const {
  int execution = 0;
  const ValueId cut = outermost(site(from, execution)), value = outermost(site(later, execution));
  if (cut < 0 || value < 0) return false;
  return index_.computed_from({cut})[static_cast<std::size_t>(value)] != 0;
}

std::shared_ptr<const Slice> ProgramModel::slice(SliceRequest request) const {
  // Equal requests have equal keys; lists end with a value that no value has.
  c10::SmallVector<ValueId, 64> key{request.to_the_end ? 1 : 0};
  for (SliceRequest::Values* part :
       {&request.given, &request.wanted, &request.kept, &request.acted}) {
    std::sort(part->begin(), part->end());
    part->erase(std::unique(part->begin(), part->end()), part->end());
    key.append(part->begin(), part->end());
    key.push_back(Slice::ignored);
  }
  {
    const std::shared_lock lock(slices_mutex_);
    if (const auto found = slices_.find(c10::ArrayRef<ValueId>(key)); found != slices_.end())
      return found->second;
  }
  auto made = std::make_shared<const Slice>(index_, request);
  const std::unique_lock lock(slices_mutex_);
  if (slices_.size() >= most_slices) slices_.clear();
  return slices_.emplace(std::vector<ValueId>(key.begin(), key.end()), std::move(made))
      .first->second;
}

PreparedPass ProgramModel::prepare(const Pass& pass, const std::vector<ValueId>& given,
                                   const std::vector<ValueId>* cut, const Trial* trial,
                                   std::vector<std::vector<ValueId>>& live) const {
  PreparedPass prepared;
  prepared.rules = pass.rules.empty() ? nullptr : &pass.rules;
  prepared.record = pass.record_gradients || !pass.differentiate.empty();
  prepared.outputs = pass.outputs;
  prepared.captures = pass.capture.size();
  prepared.directions = pass.directions;
  prepared.differentiated = pass.differentiate.size();
  SliceRequest request;
  request.given.append(given.begin(), given.end());
  request.to_the_end = pass.outputs;
  const auto action_at = [&](ValueId value, int execution) -> ValueActions& {
    for (ValueActions& action : prepared.actions) {
      if (action.value == value && action.execution == execution) return action;
    }
    request.acted.push_back(value);
    ValueActions action;
    action.value = value;
    action.execution = execution;
    prepared.actions.push_back(std::move(action));
    return prepared.actions.back();
  };
  const std::vector<char> after = cut != nullptr ? index_.computed_from(*cut) : std::vector<char>();
  const auto action_of = [&](const HookPoint& hook) -> ValueActions& {
    int execution = 0;
    const HookSite& found = site(hook, execution);
    if (cut != nullptr && found.value >= 0 &&
        after[static_cast<std::size_t>(outermost(found))] == 0)
      throw Error("\"" + hook.text() + "\" is not computed from the cut; use it in the run before");
    ValueActions& action = action_at(found.value, execution);
    if (trial != nullptr) {
      action.view = view_of(found.value, *trial);
      if (!action.view.refusal.empty())
        action.view.refusal = "\"" + hook.text() + "\": " + action.view.refusal;
    }
    return action;
  };
  for (const Edit& edit : pass.edits) action_of(edit.at).edits.push_back(&edit);
  for (std::size_t i = 0; i < pass.differentiate.size(); ++i) {
    if (!pass.differentiate[i].selector.empty()) {
      throw Error("gradients are by whole values; \"" + pass.differentiate[i].text() +
                  "\" selects a part");
    }
    ValueActions& action = action_of(pass.differentiate[i]);
    action.differentiate.push_back(i);
    request.wanted.push_back(action.value);
  }
  for (std::size_t i = 0; i < pass.capture.size(); ++i) {
    ValueActions& action = action_of(pass.capture[i]);
    action.captures.emplace_back(i, &pass.capture[i].selector);
    request.wanted.push_back(action.value);
  }
  for (const std::vector<HookPoint>& hooks : pass.cuts) {
    std::vector<ValueId> values;
    for (const HookPoint& hook : hooks) {
      if (!hook.selector.empty())
        throw Error("a cut is at whole values; \"" + hook.text() + "\" selects a part");
      values.push_back(value_of(hook));
      if (!index_.is_outermost(values.back()))
        throw Error("\"" + hook.text() +
                    "\" is in a branch or loop of the model, where a run can't be cut");
    }
    live.push_back(index_.live_at(values));
    for (const ValueId value : live.back()) {
      action_at(value, 0).keeps.push_back(prepared.kept++);
      request.wanted.push_back(value);
    }
  }
  if (pass.outputs) {
    for (const ProgramPort& output : program_.outputs) {
      request.wanted.push_back(output.value);
      request.kept.push_back(output.value);
    }
  }
  if (trial != nullptr && pass.outputs) {
    for (const ProgramPort& output : root().program_.outputs) {
      ValueView view = view_of(output.value, *trial);
      if (!view.refusal.empty())
        view.refusal = "the model's output \"" + output.name + "\": " + view.refusal;
      prepared.outputs_as.push_back(std::move(view));
    }
  }
  prepared.slice = slice(std::move(request));
  return prepared;
}

const ProgramModel::Trial& ProgramModel::trial_for(const std::vector<at::Tensor>& inputs) const {
  const ProgramModel& given = root();
  // What the model declares counts first, so that it does not matter which run is the first.
  if (given.taught_ == nullptr) {
    const std::vector<at::Tensor> declared = given.example_inputs(trial_rows);
    if (!declared.empty() && !given.trial(declared).layout->is_partial())
      given.learn_shapes(declared);
  }
  const Trial& found = given.trial(inputs);
  if (given.taught_ == nullptr && !found.layout->is_partial()) given.learn_shapes(inputs);
  return found;
}

bool ProgramModel::is_doubled_run(const Trial* trial, std::int64_t rows) const {
  if (trial == nullptr) return false;
  if (rows > 1) {
    const std::string reason = trial->layout->one_at_a_time();
    if (!reason.empty())
      throw Error("here are " + std::to_string(rows) + " samples, and the model" +
                  (name_.empty() ? "" : " \"" + name_ + "\"") + " " + reason);
  }
  return trial->layout->sample_count() == SampleCount::several && rows == 1;
}

Recording ProgramModel::run(const NamedTensors& inputs, const Pass& pass) const {
  if (!pass.rules.empty() && !is_merged_) {
    if (origin_ != nullptr) return origin_->run(inputs, pass);
    if (pass.rules.merges_batch_norms()) {
      if (!pass.cuts.empty()) throw Error("a run whose rules merge batch norms can't be cut");
      return merged(pass).run(inputs, pass);
    }
  }
  std::vector<at::Tensor> ordered;
  for (std::size_t i = 0; i < program_.inputs.size(); ++i) {
    const ProgramPort& input = program_.inputs[i];
    const bool is_given = !input.optional || inputs.find(input.name) != nullptr;
    ordered.push_back(is_given ? taken(i, inputs.at(input.name)) : at::Tensor());
  }
  const std::int64_t rows = samples_in(ordered);
  const Trial* const trial = rows > 0 ? &trial_for(ordered) : nullptr;
  const bool is_doubled = is_doubled_run(trial, rows);
  GivenValues given;
  std::vector<ValueId> ids;
  for (std::size_t i = 0; i < ordered.size(); ++i) {
    ids.push_back(program_.inputs[i].value);
    at::Tensor value = ordered[i];
    if (is_doubled && holds_samples(value)) value = at::cat({value, value});
    given.emplace_back(ids.back(), value.defined() ? c10::IValue(value) : c10::IValue());
  }
  std::vector<std::vector<ValueId>> live;
  PreparedPass prepared = prepare(pass, ids, nullptr, trial, live);
  std::vector<at::Tensor> examples;
  const bool takes_any = trial != nullptr && trial->layout->sample_count() != SampleCount::one &&
                         trial->layout->sample_count() != SampleCount::fixed;
  if (!pass.cuts.empty()) {
    for (const at::Tensor& input : ordered)
      examples.push_back(takes_any && holds_samples(input) ? input.slice(0, 0, 3).clone() : input);
  }
  prepared.rows = is_doubled ? 2 : rows;
  prepared.is_doubled = is_doubled;
  if (!pass.rules.empty() && rows > 0) prepared.layout = this->trial(ordered).layout.get();
  const WatchedSlice watched(root().watch_, "run");
  return finish(interpret(program_, given, prepared, root().check_, root().watch_), pass, live,
                rows, examples);
}

NamedTensors ProgramModel::outputs_as_in_network(const NamedTensors& inputs) const {
  GivenValues given;
  std::vector<ValueId> ids;
  for (std::size_t i = 0; i < program_.inputs.size(); ++i) {
    const ProgramPort& input = program_.inputs[i];
    ids.push_back(input.value);
    const bool is_given = !input.optional || inputs.find(input.name) != nullptr;
    given.emplace_back(input.value,
                       is_given ? c10::IValue(taken(i, inputs.at(input.name))) : c10::IValue());
  }
  std::vector<std::vector<ValueId>> live;
  const PreparedPass prepared = prepare({}, ids, nullptr, nullptr, live);
  return interpret(program_, given, prepared, root().check_, root().watch_).recording.outputs;
}

Recording ProgramModel::resume(const Snapshot& from, const Pass& pass) const {
  const auto* snapshot = dynamic_cast<const ProgramSnapshot*>(&from);
  if (snapshot == nullptr || &snapshot->model() != this)
    throw Error("the snapshot is of another model, or of this one by another plan");
  if (!pass.rules.empty() && origin_ != nullptr)
    throw Error("a plan's snapshot can't be gone on from with backward rules");
  std::vector<ValueId> ids;
  ids.reserve(snapshot->values().size());
  for (const auto& [id, value] : snapshot->values()) ids.push_back(id);
  std::vector<std::vector<ValueId>> live;
  const std::int64_t rows = snapshot->rows();
  const Trial* const trial = rows > 0 ? &trial_for(snapshot->examples()) : nullptr;
  const bool is_doubled = is_doubled_run(trial, rows);
  PreparedPass prepared = prepare(pass, ids, &snapshot->cut(), trial, live);
  prepared.rows = is_doubled ? 2 : rows;
  prepared.is_doubled = is_doubled;
  if (!pass.rules.empty() && rows > 0)
    prepared.layout = this->trial(snapshot->examples()).layout.get();
  const WatchedSlice watched(root().watch_, "resume");
  return finish(interpret(program_, snapshot->values(), prepared, root().check_, root().watch_),
                pass, live, snapshot->rows(), snapshot->examples());
}

Recording ProgramModel::finish(PassResult result, const Pass& pass,
                               const std::vector<std::vector<ValueId>>& live, std::int64_t rows,
                               const std::vector<at::Tensor>& examples) const {
  Recording& recording = result.recording;
  for (std::size_t i = 0; i < pass.capture.size(); ++i) {
    if (!recording.captured[i].defined()) {
      throw Error("the run did not come by the hook point \"" + pass.capture[i].text() +
                  "\": it is in a branch or loop that was not taken so far on this input");
    }
  }
  for (std::size_t i = 0; i < pass.differentiate.size(); ++i) {
    if (!recording.differentiated[i].defined()) {
      throw Error("the run did not come by the hook point \"" + pass.differentiate[i].text() +
                  "\"");
    }
  }
  std::size_t next = 0;
  for (std::size_t i = 0; i < live.size(); ++i) {
    GivenValues values;
    values.reserve(live[i].size());
    for (const ValueId value : live[i]) values.emplace_back(value, std::move(result.kept[next++]));
    std::vector<ValueId> cut;
    for (const HookPoint& hook : pass.cuts[i]) cut.push_back(value_of(hook));
    recording.snapshots.push_back(std::make_shared<ProgramSnapshot>(
        shared_from_this(), std::move(cut), std::move(values), rows, examples));
  }
  return std::move(recording);
}

}  // namespace microtome::host
