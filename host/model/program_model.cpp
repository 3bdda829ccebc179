#include "host/model/program_model.h"

#include <algorithm>

#include "host/model/affine_prefix.h"

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

}  // namespace

ProgramModel::ProgramModel(std::string name, Program program, ModelInput input, at::Device device)
    : name_(std::move(name)),
      program_(std::move(program)),
      input_(std::move(input)),
      device_(device),
      index_(program_) {
  if (!input_.mean.empty()) {
    mean_ = at::tensor(input_.mean, at::kFloat);
    std_ = at::tensor(input_.std, at::kFloat);
    add_normalisation(program_, mean_, std_);
    find_last_uses(program_);
  }
  move_to(program_, device_);
  collect_nodes(program_.body, graph_);
  index_ = ProgramIndex(program_);
  for (std::size_t i = 0; i < program_.sites.size(); ++i) {
    sites_.emplace(program_.sites[i].name.site(), i);
  }
  for (const ProgramPort& port : program_.inputs) {
    inputs_.push_back({port.name, at::kFloat,
                       program_.inputs.size() == 1 ? input_.size : std::vector<std::int64_t>{}});
  }
  for (const ProgramPort& port : program_.outputs) outputs_.push_back({port.name, at::kFloat, {}});
}

ProgramModel::ProgramModel(Planned planned)
    : name_(planned.origin->name_),
      origin_(std::move(planned.origin)),
      report_(planned.report),
      program_(std::move(planned.program)),
      input_(origin_->input_),
      device_(origin_->device_),
      mean_(origin_->mean_),
      std_(origin_->std_),
      inputs_(origin_->inputs_),
      sites_(origin_->sites_),
      index_(program_),
      outputs_(origin_->outputs_) {}

ProgramModel::ProgramModel(const ProgramModel& network, Program program)
    : name_(network.name_),
      program_(std::move(program)),
      input_(network.input_),
      device_(network.device_),
      mean_(network.mean_),
      std_(network.std_),
      inputs_(network.inputs_),
      graph_(network.graph_),
      sites_(network.sites_),
      index_(program_),
      check_(network.check_),
      watch_(network.watch_),
      outputs_(network.outputs_) {}

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

at::Tensor ProgramModel::normalise(const at::Tensor& pixels) const {
  if (!normalises()) return pixels;
  const auto shaped = [&](const at::Tensor& value) {
    return value.to(pixels.device()).view({-1, 1, 1});
  };
  return (pixels - shaped(mean_)) / shaped(std_);
}

void ProgramModel::learn_default_shapes() const {
  if (input_.size.empty() || program_.inputs.size() != 1) return;
  std::vector<std::int64_t> size{1};
  size.insert(size.end(), input_.size.begin(), input_.size.end());
  learn_shapes({at::zeros(size)});
}

const BatchLayout& ProgramModel::layout(const std::vector<at::Tensor>& inputs) const {
  std::call_once(laid_out_, [&] { layout_ = std::make_unique<BatchLayout>(index_, inputs); });
  return *layout_;
}

std::optional<double> ProgramModel::bytes_per_sample(const Pass& pass) const {
  if (program_.inputs.size() != 1 || input_.size.empty()) return std::nullopt;
  if (!pass.rules.empty() && origin_ != nullptr) return origin_->bytes_per_sample(pass);
  std::vector<std::int64_t> size{2};
  size.insert(size.end(), input_.size.begin(), input_.size.end());
  const BatchLayout& known =
      layout({at::rand(size, at::detail::createCPUGenerator(0)).to(device_)});
  std::vector<std::vector<ValueId>> live;
  const PreparedPass prepared = prepare(pass, {program_.inputs[0].value}, nullptr, live);
  return known.peak_bytes(*prepared.slice, prepared.record);
}

void ProgramModel::learn_shapes(const std::vector<at::Tensor>& examples) const {
  if (origin_ != nullptr) return origin_->learn_shapes(examples);
  std::call_once(learned_, [&] {
    PreparedPass pass;
    const Selector whole;
    SliceRequest request;
    pass.captures = program_.sites.size();
    for (std::size_t i = 0; i < program_.sites.size(); ++i) {
      ValueActions action;
      action.value = program_.sites[i].value;
      action.captures.emplace_back(i, &whole);
      request.wanted.push_back(action.value);
      request.acted.push_back(action.value);
      pass.actions.push_back(std::move(action));
    }
    GivenValues given;
    for (std::size_t i = 0; i < program_.inputs.size(); ++i) {
      request.given.push_back(program_.inputs[i].value);
      given.emplace_back(program_.inputs[i].value, examples.at(i).to(device_));
    }
    for (const ProgramPort& output : program_.outputs) request.kept.push_back(output.value);
    pass.slice = slice(std::move(request));
    const Recording recording = interpret(program_, given, pass, {}).recording;
    for (std::size_t i = 0; i < program_.sites.size(); ++i) {
      const at::Tensor& value = recording.captured[i];
      if (value.defined()) shapes_[i] = {value.scalar_type(), value.sizes().vec()};
    }
    for (PortInfo& output : outputs_) {
      if (const at::Tensor* value = recording.outputs.find(output.name);
          value != nullptr && value->dim() > 0) {
        output.type = value->scalar_type();
        output.shape = value->sizes().slice(1).vec();
      }
    }
  });
}

const std::vector<PortInfo>& ProgramModel::outputs() const {
  if (origin_ != nullptr) return origin_->outputs();
  learn_default_shapes();
  return outputs_;
}

HookPointInfo ProgramModel::info_of(const HookSite& site, std::string name) const {
  HookPointInfo info{std::move(name), site.operation, site.tensor, at::kFloat, {}};
  const auto known = shapes_.find(static_cast<std::size_t>(&site - program_.sites.data()));
  if (known != shapes_.end()) {
    info.type = known->second.type;
    info.shape = known->second.shape;
  }
  info.can_cut = index_.is_outermost(site.value) && !index_.changes_lists();
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
  const bool is_plain = hook.slot == HookPoint::Slot::output && hook.call == 1 && !hook.has_index;
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
    if (site.in_loop)
      execution = hook.slot == HookPoint::Slot::operation ? hook.occurrence : hook.call;
    return site;
  }
  // `name:out[0]` of a module with one output.
  HookPoint plain = hook;
  if (plain.slot == HookPoint::Slot::output && plain.has_index && plain.index == 0) {
    plain.has_index = false;
    return site(plain, execution);
  }
  // The k-th time that a loop comes by.
  HookPoint first = hook;
  (first.slot == HookPoint::Slot::operation ? first.occurrence : first.call) = 1;
  if (const auto found = sites_.find(plain_name(first));
      found != sites_.end() && program_.sites[found->second].in_loop) {
    execution = hook.slot == HookPoint::Slot::operation ? hook.occurrence : hook.call;
    return program_.sites[found->second];
  }
  std::vector<std::string> names;
  for (const HookSite& candidate : program_.sites) names.push_back(candidate.name.site());
  throw Error(hook.location, "the model" + (name_.empty() ? "" : " \"" + name_ + "\"") +
                                 " has no hook point \"" + name + "\"" + suggestion(name, names));
}

std::optional<HookPoint> ProgramModel::affine_prefix(const HookPoint& from) const {
  if (!program_.shares_affine_prefix || index_.changes_lists()) return std::nullopt;
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
