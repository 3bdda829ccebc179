#include "host/model/program_model.h"

#include <algorithm>

#include "host/model/affine_prefix.h"
#include "host/model/gradient_layout.h"
#include "microtome/quoting.h"

namespace microtome::host {
namespace {

void collect_nodes(const Block& block, Graph& graph) {
  for (const Node& node : block.nodes) {
    if (node.kind == Node::Kind::operation) graph.nodes.push_back(node.info);
    for (const Block& inner : node.blocks) collect_nodes(inner, graph);
  }
}

/// The hook's name as the table has it: `:in[0]` is `:in`, `:out[0]` of a single output is the
/// module.
std::string plain_name(HookPoint hook) {
  if (hook.slot == HookPoint::Slot::input && hook.index == 0) hook.has_index = false;
  hook.dictionary.reset();
  return hook.site();
}

/// Of a call that a loop makes in a later turn; `execution` is the turn, from 1. nullptr: none.
const HookSite* site_of_turn(const std::vector<HookSite>& sites, const HookPoint& hook,
                             const std::function<ValueId(const HookSite&)>& loop_of,
                             int& execution) {
  const auto number = [](const HookPoint& name) {
    return name.slot == HookPoint::Slot::operation ? name.occurrence : name.call;
  };
  const auto unnumbered = [](HookPoint name) {
    (name.slot == HookPoint::Slot::operation ? name.occurrence : name.call) = 1;
    return plain_name(name);
  };
  std::vector<const HookSite*> turns;  // what one turn of the loop calls, in this order
  for (const HookSite& candidate : sites) {
    if (candidate.in_loop && unnumbered(candidate.name) == unnumbered(hook))
      turns.push_back(&candidate);
  }
  // How often a first loop turns before a second one nobody knows.
  const auto is_elsewhere = [&](const HookSite* candidate) {
    return loop_of(*candidate) != loop_of(*turns[0]);
  };
  if (turns.empty() || std::any_of(turns.begin(), turns.end(), is_elsewhere)) return nullptr;
  const int since = number(hook) - number(turns[0]->name);
  if (since < 0) return nullptr;
  const int calls = static_cast<int>(turns.size());
  execution = since / calls + 1;
  return turns[static_cast<std::size_t>(since % calls)];
}

}  // namespace

ProgramModel::ProgramModel(std::string name, Program program, const DeclaredInputs& inputs,
                           at::Device device)
    : name_(std::move(name)),
      program_(std::move(program)),
      declared_(inputs),
      device_(device),
      index_(program_) {
  describe_inputs();
  find_last_uses(program_);
  move_to(program_, device_);
  lay_out_gradients(program_);
  collect_nodes(program_.body, graph_);
  index_ = ProgramIndex(program_);
  for (std::size_t i = 0; i < program_.sites.size(); ++i) {
    sites_.emplace(program_.sites[i].name.site(), i);
  }
  // Names that need quotes are understood without them where nothing else is meant.
  for (std::size_t i = 0; i < program_.sites.size(); ++i) {
    const HookPoint& name = program_.sites[i].name;
    if (!needs_quotes(name.module)) continue;
    const std::size_t quoted = quoted_path(name.module).size();
    sites_.emplace(name.module + name.site().substr(quoted), i);
  }
  for (const ProgramPort& port : program_.outputs) outputs_.push_back({port.name, at::kFloat, {}});
}

ProgramModel::ProgramModel(Planned planned)
    : name_(planned.origin->name_),
      origin_(std::move(planned.origin)),
      report_(planned.report),
      program_(std::move(planned.program)),
      declared_(origin_->declared_),
      device_(origin_->device_),
      mean_(origin_->mean_),
      std_(origin_->std_),
      normalised_(origin_->normalised_),
      inputs_(origin_->inputs_),
      uses_(origin_->uses_),
      samples_(origin_->samples_),
      sites_(origin_->sites_),
      index_(program_),
      outputs_(origin_->outputs_) {}

ProgramModel::ProgramModel(const ProgramModel& network, Program program)
    : name_(network.name_),
      program_(std::move(program)),
      declared_(network.declared_),
      device_(network.device_),
      mean_(network.mean_),
      std_(network.std_),
      normalised_(network.normalised_),
      inputs_(network.inputs_),
      uses_(network.uses_),
      samples_(network.samples_),
      graph_(network.graph_),
      sites_(network.sites_),
      index_(program_),
      check_(network.check_),
      watch_(network.watch_),
      outputs_(network.outputs_),
      declared_axes_(network.declared_axes_) {}

std::shared_ptr<const ProgramModel> ProgramModel::planned(const std::vector<HookPoint>& hooks,
                                                          const PlanSettings& allowed) const {
  const std::lock_guard lock(plans_mutex_);
  // Where there is nothing to fold, plans that may and may not are the same.
  PlanSettings settings = allowed;
  settings.fold_batch_norm =
      settings.fold_batch_norm &&
      std::any_of(graph_.nodes.begin(), graph_.nodes.end(),
                  [](const GraphNode& node) { return node.operation == "aten::batch_norm"; });
  const auto make = [&](const std::set<ValueId>& hooked) {
    Planned result;
    result.origin = shared_from_this();
    result.program = plan_program(program_, hooked, settings, result.report);
    return std::shared_ptr<const ProgramModel>(new ProgramModel(std::move(result)));
  };
  const auto [known, is_new] = plans_.try_emplace(settings.text());
  Plans& plans = known->second;
  std::shared_ptr<const ProgramModel> whole;
  if (is_new) {
    whole = make({});
    for (const HookSite& site : whole->program_.sites) {
      if (site.is_gone) plans.foldable.insert(site.value);
    }
    plans.made[{}] = whole;
  }
  // A hook at any other value changes nothing in the plan.
  std::set<ValueId> hooked;
  for (const HookPoint& hook : hooks) {
    if (const ValueId value = value_of(hook); plans.foldable.contains(value)) hooked.insert(value);
  }
  std::weak_ptr<const ProgramModel>& place = plans.made[hooked];
  std::shared_ptr<const ProgramModel> made = place.lock();
  if (!made) place = made = make(hooked);
  return made;
}

const ProgramModel& ProgramModel::merged(const Pass& pass) const {
  std::set<ValueId> hooked;
  for (const HookPoint& hook : pass.capture) hooked.insert(value_of(hook));
  for (const HookPoint& hook : pass.differentiate) hooked.insert(value_of(hook));
  for (const Edit& edit : pass.edits) hooked.insert(value_of(edit.at));
  const std::lock_guard lock(plans_mutex_);
  std::shared_ptr<const ProgramModel>& made = merged_[hooked];
  if (made == nullptr) {
    Planned planned;
    // Not owned: this model owns the merged one.
    planned.origin = std::shared_ptr<const ProgramModel>(std::shared_ptr<void>(), this);
    PlanSettings settings = PlanSettings::none();
    settings.fold_batch_norm = true;
    planned.program = plan_program(program_, hooked, settings, planned.report);
    auto model = std::shared_ptr<ProgramModel>(new ProgramModel(std::move(planned)));
    model->is_merged_ = true;
    made = std::move(model);
  }
  return *made;
}

NamedTensors ProgramModel::parameters() const {
  NamedTensors result;
  const Program& given = root().program_;
  for (const ProgramParameter& parameter : given.parameters)
    result.set(parameter.name, given.constant(parameter.constant).toTensor());
  return result;
}

std::shared_ptr<const Model> ProgramModel::with_parameters(const NamedTensors& values) const {
  Program changed = root().program_;
  std::vector<std::string> names;
  names.reserve(changed.parameters.size());
  for (const ProgramParameter& parameter : changed.parameters) names.push_back(parameter.name);
  if (names.empty()) return Model::with_parameters(values);
  for (const auto& [name, value] : values) {
    const auto found = std::find(names.begin(), names.end(), name);
    if (found == names.end()) {
      throw Error("the model has no parameter \"" + name + "\"" + suggestion(name, names));
    }
    const auto place = static_cast<std::size_t>(found - names.begin());
    c10::IValue& constant =
        changed.constants[static_cast<std::size_t>(-changed.parameters[place].constant - 1)];
    const at::Tensor& own = constant.toTensor();
    if (value.sizes() != own.sizes() || value.scalar_type() != own.scalar_type())
      throw Error("the parameter \"" + name + "\" has another shape or type");
    constant = value.to(device_).detach();
  }
  return std::shared_ptr<const ProgramModel>(new ProgramModel(root(), std::move(changed)));
}

namespace {

/// Of an input; one that is left out has none.
at::ScalarType type_of(const at::Tensor& input) {
  return input.defined() ? input.scalar_type() : at::ScalarType::Undefined;
}

}  // namespace

bool ProgramModel::is_like(const Trial& trial, const std::vector<at::Tensor>& inputs) {
  if (trial.types.size() != inputs.size()) return false;
  const SampleCount count = trial.layout->sample_count();
  const bool takes_any =
      count == SampleCount::any || count == SampleCount::several || count == SampleCount::coupled;
  if (!takes_any && trial.samples != samples_in(inputs)) return false;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const auto shape = holds_samples(inputs[i]) ? inputs[i].sizes().slice(1) : at::IntArrayRef();
    if (type_of(inputs[i]) != trial.types[i] || shape.size() != trial.shapes[i].size())
      return false;
    // Lengths may differ, but one of 1 tells nothing of what is merged with it.
    for (std::size_t d = 0; d < shape.size(); ++d) {
      const std::int64_t tried = trial.shapes[i][d];
      if (shape[d] != tried && (tried == 1 || shape[d] == 1)) return false;
    }
  }
  return true;
}

const ProgramModel::Trial& ProgramModel::trial(const std::vector<at::Tensor>& inputs) const {
  const std::lock_guard lock(trials_mutex_);
  for (const auto& known : trials_) {
    if (is_like(*known, inputs)) return *known;
  }
  auto made = std::make_unique<Trial>();
  made->samples = samples_in(inputs);
  std::vector<at::Tensor> here;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const at::Tensor& input = inputs[i];
    made->types.push_back(type_of(input));
    made->shapes.push_back(holds_samples(input) ? input.sizes().slice(1).vec()
                                                : std::vector<std::int64_t>());
    here.push_back(input.defined() ? taken(i, input) : input);
  }
  const bool has_own_values =
      origin_ == nullptr || origin_->program_.value_count != program_.value_count;
  const BatchLayout* const given = has_own_values ? nullptr : origin_->trial(inputs).layout.get();
  made->layout = given != nullptr && given->is_compared()
                     ? std::make_unique<BatchLayout>(index_, here, *given)
                     : std::make_unique<BatchLayout>(index_, here);
  if (origin_ == nullptr) made->axes = axes_of(*made->layout);
  trials_.push_back(std::move(made));
  return *trials_.back();
}

ValueView ProgramModel::view_of(ValueId value, const Trial& trial) {
  ValueView view;
  const ValueLayout& layout = trial.layout->of(value);
  view.axes = &trial.axes->of(value);
  view.place = layout.place;
  if (layout.kind == ValueLayout::Kind::fixed) {
    view.samples = OfSamples::none;
  } else if (layout.kind != ValueLayout::Kind::rows) {
    view.refusal = "it can't be handed out sample by sample: " + trial.layout->refusal(value);
  }
  return view;
}

namespace {

/// Whether what operators say of a dimension rules out what it is declared to be. Positions may go
/// by several names; channels are nothing else, and neither an image nor a map of attention is
/// turned.
bool contradicts(const std::string& known, const std::string& declared) {
  if (known.empty() || known == declared) return false;
  const auto is_of_image = [](const std::string& axis) {
    return axis == "x" || axis == "y" || axis == "z";
  };
  const auto is_of_attention = [](const std::string& axis) {
    return axis == "head" || axis == "query" || axis == "key";
  };
  return known == "c" || declared == "c" || (is_of_image(known) && is_of_image(declared)) ||
         (is_of_attention(known) && is_of_attention(declared));
}

}  // namespace

std::unique_ptr<ValueAxes> ProgramModel::axes_of(const BatchLayout& layout) const {
  for (const auto& [value, axes] : declared_axes_) {
    const std::size_t rank = layout.shape(value).size();
    if (rank == 0) continue;
    if (axes.size() + 1 != rank)
      throw Error("the axes " + axes_text(axes) + " are declared for a value that has " +
                  std::to_string(rank - 1) + " dimensions after N");
    auto others = declared_axes_;
    others.erase(value);
    const Axes known = ValueAxes(index_, layout, others).of(value);
    for (std::size_t d = 0; d < known.size() && d < axes.size(); ++d) {
      if (contradicts(known[d], axes[d]))
        throw Error("the axes " + axes_text(axes) +
                    " are declared for a value whose axes, by the operators that make and read it, "
                    "are " +
                    axes_text(known) + "; dimension " + std::to_string(d + 1) + " is " + known[d]);
    }
  }
  return std::make_unique<ValueAxes>(index_, layout, declared_axes_);
}

void ProgramModel::declare_axes(const HookPoint& hook, const Axes& axes) const {
  const ValueId value = value_of(hook);
  const std::lock_guard lock(trials_mutex_);
  declared_axes_[value] = axes;
  for (const auto& trial : trials_) trial->axes = axes_of(*trial->layout);
}

void ProgramModel::declare_images(const std::string& input) const {
  const HookPoint hook = parse_hook_point("input." + input);
  const HookPointInfo info = resolve(hook);
  const bool is_unknown =
      info.shape.size() == 4 && std::count(info.axes.begin(), info.axes.end(), "") > 0;
  if (is_unknown) declare_axes(hook, {"c", "y", "x"});
}

std::int64_t ProgramModel::most_samples() const {
  return one_at_a_time().empty() ? Model::most_samples() : 1;
}

std::string ProgramModel::one_at_a_time() const {
  if (origin_ != nullptr) return origin_->one_at_a_time();
  learn_default_shapes();
  const Trial* const taught = taught_;
  return taught == nullptr ? std::string() : taught->layout->one_at_a_time();
}

bool ProgramModel::mixes_samples() const {
  if (origin_ != nullptr) return origin_->mixes_samples();
  learn_default_shapes();
  const Trial* const taught = taught_;
  return taught != nullptr && taught->layout->sample_count() == SampleCount::coupled;
}

std::optional<double> ProgramModel::bytes_per_sample(const Pass& pass) const {
  if (!pass.rules.empty() && origin_ != nullptr) return origin_->bytes_per_sample(pass);
  const std::vector<at::Tensor> examples = example_inputs(trial_rows);
  if (examples.empty()) return std::nullopt;
  const BatchLayout& layout = *trial(examples).layout;
  if (layout.is_partial()) return std::nullopt;
  std::vector<ValueId> given;
  for (const ProgramPort& input : program_.inputs) given.push_back(input.value);
  std::vector<std::vector<ValueId>> live;
  const PreparedPass prepared = prepare(pass, given, nullptr, nullptr, live);
  return layout.peak_bytes(*prepared.slice, prepared.record);
}

std::string ProgramModel::failure() const {
  const std::vector<at::Tensor> examples = example_inputs(trial_rows);
  if (examples.empty()) return {};
  const BatchLayout& layout = *trial(examples).layout;
  return layout.is_partial() ? layout.failure() : std::string();
}

void ProgramModel::learn_shapes(const std::vector<at::Tensor>& examples) const {
  if (origin_ != nullptr) return origin_->learn_shapes(examples);
  if (taught_ != nullptr) return;
  const Trial& tried = trial(examples);
  if (tried.layout->is_partial()) throw Error(tried.layout->failure());
  std::call_once(learned_, [&] {
    for (std::size_t i = 0; i < outputs_.size(); ++i) {
      const ValueId value = program_.outputs[i].value;
      outputs_[i].type = type_handed_out(tried.layout->of(value).type);
      const std::vector<std::int64_t> shape = tried.layout->shape(value);
      if (!shape.empty()) outputs_[i].shape.assign(shape.begin() + 1, shape.end());
    }
    taught_ = &tried;
  });
}

const std::vector<PortInfo>& ProgramModel::outputs() const {
  if (origin_ != nullptr) return origin_->outputs();
  learn_default_shapes();
  return outputs_;
}

at::ScalarType ProgramModel::type_handed_out(at::ScalarType type) const {
  return program_.reduced_precision && type == *program_.reduced_precision ? at::kFloat : type;
}

HookPointInfo ProgramModel::info_of(const HookSite& site, std::string name) const {
  HookPointInfo info{std::move(name), site.operation, site.tensor};
  if (const Trial* const taught = taught_; taught != nullptr) {
    const ValueView view = view_of(site.value, *taught);
    info.type = type_handed_out(taught->layout->of(site.value).type);
    info.shape = taught->layout->shape(site.value);
    info.axes = *view.axes;
    info.place = view.place;
    info.samples = view.refusal.empty() ? view.samples : OfSamples::not_known;
    if (!view.refusal.empty()) info.refusal = "\"" + info.name + "\": " + view.refusal;
  }
  info.can_cut = index_.is_outermost(site.value);
  return info;
}

std::vector<HookPointInfo> ProgramModel::hook_points() const {
  if (origin_ != nullptr) return origin_->hook_points();
  learn_default_shapes();
  std::vector<HookPointInfo> result;
  result.reserve(program_.sites.size());
  for (const HookSite& site : program_.sites) result.push_back(info_of(site, site.name.site()));
  return result;
}

const HookSite& ProgramModel::site(const HookPoint& hook, int& execution) const {
  execution = 0;
  if (hook.dictionary) {
    throw Error("\"" + hook.text() + "\": no stage offers a dictionary to a model's run yet");
  }
  // Most are a module's only output: no text is put together for them.
  const bool is_plain = hook.slot == HookPoint::Slot::output && hook.call == 1 && !hook.has_index &&
                        !needs_quotes(hook.module);
  const std::string made = is_plain ? std::string() : plain_name(hook);
  const std::string& name = is_plain ? hook.module : made;
  if (const auto found = sites_.find(name); found != sites_.end()) {
    const HookSite& site = program_.sites[found->second];
    if (site.is_gone) {
      throw Error(
          hook.location,
          "the value at \"" + name +
              "\" is folded away, as the stage's plan did not ask for it. A stage resolves what "
              "it uses in its plan, or says `any_hook` there; runtime: {fold_batch_norm: false, "
              "fold_constants: false, pool_before_relu: false} does without folding");
    }
    if (site.in_loop) execution = 1;
    return site;
  }
  // `name:out[0]` of a module with one output.
  HookPoint plain = hook;
  if (plain.slot == HookPoint::Slot::output && plain.has_index && plain.index == 0) {
    plain.has_index = false;
    return site(plain, execution);
  }
  const auto loop_of = [this](const HookSite& inside) { return outermost(inside); };
  if (const HookSite* found = site_of_turn(program_.sites, hook, loop_of, execution)) return *found;
  std::vector<std::string> names;
  for (const HookSite& candidate : program_.sites) names.push_back(candidate.name.site());
  throw Error(hook.location, "the model" + (name_.empty() ? "" : " \"" + name_ + "\"") +
                                 " has no hook point \"" + name + "\"" + suggestion(name, names));
}

std::optional<HookPoint> ProgramModel::affine_prefix(const HookPoint& from) const {
  if (!program_.shares_affine_prefix) return std::nullopt;
  // Of several names for a value, a module's output says most.
  std::vector<char> named(static_cast<std::size_t>(program_.value_count), 0);
  std::unordered_map<ValueId, const HookSite*> names;
  for (const HookSite& site : program_.sites) {
    if (!site.tensor || site.is_gone || !index_.is_outermost(site.value)) continue;
    named[static_cast<std::size_t>(site.value)] = 1;
    const auto [known, is_new] = names.emplace(site.value, &site);
    if (!is_new && site.name.slot == HookPoint::Slot::output) known->second = &site;
  }
  const auto value = host::affine_prefix(index_, value_of(from), named);
  return value ? std::optional(names.at(*value)->name) : std::nullopt;
}

HookPointInfo ProgramModel::resolve(const HookPoint& hook) const {
  if (origin_ != nullptr) return origin_->resolve(hook);
  int execution = 0;
  const HookSite& found = site(hook, execution);
  learn_default_shapes();
  return info_of(found, hook.site());
}

}  // namespace microtome::host
