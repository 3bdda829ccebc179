#include "microtome/testing/harness.h"

#include <algorithm>
#include <set>

#include "microtome/output_check.h"

namespace microtome::testing {

namespace {

/// What the steps' values are taken for.
Axes axes_of_steps(std::int64_t rank) {
  if (rank == 2) return {"c"};
  if (rank == 3) return {"token", "c"};
  if (rank == 4) return {"c", "y", "x"};
  return Axes(static_cast<std::size_t>(std::max<std::int64_t>(rank - 1, 0)));
}

}  // namespace

StepModel::StepModel(at::Tensor example, std::vector<Step> steps) : steps_(std::move(steps)) {
  const auto describe = [](const std::string& name, const at::Tensor& value) {
    HookPointInfo info{name, "step", true, value.scalar_type(), value.sizes().vec()};
    info.axes = axes_of_steps(value.dim());
    info.samples = OfSamples::each;
    return info;
  };
  hooks_.push_back(describe("input", example));
  inputs_.push_back({"input", example.scalar_type(), example.sizes().slice(1).vec()});
  at::Tensor value = std::move(example);
  for (const auto& [name, step] : steps_) {
    value = step(value);
    hooks_.push_back(describe(name, value));
    graph_.nodes.push_back({"step::" + name, name, 1, 1, {}, {}, 0, {}});
  }
  hooks_.push_back(describe("output", value));
  outputs_.push_back({"output", value.scalar_type(), value.sizes().slice(1).vec()});
}

namespace {

/// The name that a step has: the only input goes by both of its names.
std::string step_of(const HookPoint& hook) {
  const std::string site = hook.site();
  return site == "input.input" ? "input" : site;
}

}  // namespace

HookPointInfo StepModel::resolve(const HookPoint& hook) const {
  std::vector<std::string> names;
  for (const HookPointInfo& info : hooks_) {
    if (info.name == step_of(hook)) return info;
    names.push_back(info.name);
  }
  throw Error("the model has no hook point \"" + hook.site() + "\"" +
              suggestion(hook.site(), names));
}

namespace {

/// A value in the row of steps.
struct StepSnapshot final : Snapshot {
  const StepModel* model = nullptr;
  std::string name;
  at::Tensor value;

  std::int64_t rows() const override { return value.size(0); }
  std::shared_ptr<const Snapshot> select(const at::Tensor& rows) const override {
    auto chosen = std::make_shared<StepSnapshot>(*this);
    chosen->value = value.index_select(0, rows);
    return chosen;
  }
};

}  // namespace

Recording StepModel::run(const NamedTensors& inputs, const Pass& pass) const {
  return run_from("input", inputs.at("input"), pass);
}

Recording StepModel::resume(const Snapshot& from, const Pass& pass) const {
  const auto* snapshot = dynamic_cast<const StepSnapshot*>(&from);
  if (snapshot == nullptr || snapshot->model != this)
    throw Error("the snapshot is of another model");
  return run_from(snapshot->name, snapshot->value, pass);
}

bool StepModel::is_computed_from(const HookPoint& later, const HookPoint& from) const {
  const auto place = [&](const HookPoint& hook) {
    const std::string name = resolve(hook).name;
    return std::find_if(hooks_.begin(), hooks_.end(),
                        [&](const HookPointInfo& info) { return info.name == name; });
  };
  return place(later) >= place(from);
}

Recording StepModel::run_from(const std::string& start, at::Tensor value, const Pass& pass) const {
  Recording recording;
  recording.captured.resize(pass.capture.size());
  recording.axes.resize(pass.capture.size());
  recording.differentiated.resize(pass.differentiate.size());
  recording.snapshots.resize(pass.cuts.size());
  const bool record = pass.record_gradients || !pass.differentiate.empty();
  const at::AutoGradMode mode(record);
  const auto visit = [&](const std::string& name, at::Tensor value) {
    for (const Edit& edit : pass.edits) {
      if (step_of(edit.at) == name) {
        const Axes axes = axes_of_steps(value.dim());
        value = assign(value, edit.at.selector, axes,
                       edit.value.defined()
                           ? edit.value
                           : edit.apply(select(value, edit.at.selector, axes, pass.directions)));
      }
    }
    for (std::size_t i = 0; i < pass.differentiate.size(); ++i) {
      if (step_of(pass.differentiate[i]) != name) continue;
      if (!value.requires_grad()) value = value.detach().requires_grad_();
      recording.differentiated[i] = value;
    }
    for (std::size_t i = 0; i < pass.capture.size(); ++i) {
      if (step_of(pass.capture[i]) == name) {
        const Axes axes = axes_of_steps(value.dim());
        recording.captured[i] = select(value, pass.capture[i].selector, axes, pass.directions);
        recording.axes[i] = remaining_axes(axes, pass.capture[i].selector);
      }
    }
    for (std::size_t i = 0; i < pass.cuts.size(); ++i) {
      if (pass.cuts[i].size() != 1) throw Error("steps in a row are cut at one hook point");
      if (step_of(pass.cuts[i][0]) != name) continue;
      auto snapshot = std::make_shared<StepSnapshot>();
      snapshot->model = this;
      snapshot->name = name;
      snapshot->value = value;
      recording.snapshots[i] = std::move(snapshot);
    }
    return value;
  };
  value = visit(start, std::move(value));
  bool started = start == "input";
  for (const auto& [name, step] : steps_) {
    if (started) value = visit(name, step(value));
    started = started || name == start;
  }
  if (start != "output") value = visit("output", value);
  if (pass.outputs) recording.outputs.set("output", value);
  for (const HookPoint& hook : pass.capture) resolve(hook);
  for (const HookPoint& hook : pass.differentiate) resolve(hook);
  for (const Edit& edit : pass.edits) resolve(edit.at);
  for (const auto& cut : pass.cuts) resolve(cut[0]);
  return recording;
}

MemoryDataset::MemoryDataset(std::vector<std::string> ids, NamedTensors fields) {
  info_.name = "memory";
  info_.size = static_cast<std::int64_t>(ids.size());
  for (const auto& [name, value] : fields) {
    info_.fields.push_back({name, value.scalar_type(), value.sizes().slice(1).vec(), {}, false});
  }
  all_.ids = std::move(ids);
  all_.fields = std::move(fields);
}

void MemoryDataset::mark_image(const std::string& field, std::vector<double> mean,
                               std::vector<double> std) {
  for (FieldInfo& info : info_.fields) {
    if (info.name != field) continue;
    info.image = true;
    info.mean = std::move(mean);
    info.std = std::move(std);
    return;
  }
  throw Error("there is no field \"" + field + "\"");
}

Batch MemoryDataset::load(const std::vector<std::int64_t>& positions) const {
  Batch batch;
  batch.positions = positions;
  for (const std::int64_t position : positions) {
    batch.ids.push_back(all_.ids.at(static_cast<std::size_t>(position)));
  }
  const at::Tensor index = at::tensor(positions, at::kLong);
  for (const auto& [name, value] : all_.fields)
    batch.fields.set(name, value.index_select(0, index));
  return batch;
}

const Metric& Output::metric(const std::string& name) const {
  for (const Metric& found : metrics) {
    if (found.name == name) return found;
  }
  throw Error("no metric \"" + name + "\" was written");
}

namespace {

class MemoryWriter final : public ArtifactWriter {
 public:
  void tensor(const std::string& name, const at::Tensor& value, bool allow_nan) override {
    check(name, value, allow_nan);
    output.tensors[name] = value.detach().clone();
  }
  void append(const std::string& name, const at::Tensor& rows, bool allow_nan) override {
    check(name, rows, allow_nan);
    grown.insert(name);
    at::Tensor& all = output.tensors[name];
    all = all.defined() ? at::cat({all, rows.detach()}) : rows.detach().clone();
  }
  void append_ids(const std::vector<std::string>& ids) override {
    output.ids.insert(output.ids.end(), ids.begin(), ids.end());
  }
  void metric(Metric metric) override {
    metric.demand_finite();
    output.metrics.push_back(std::move(metric));
  }
  void view(View view) override { output.views.push_back(std::move(view)); }
  void metadata(const std::string& key, Value value) override {
    output.metadata.set(key, std::move(value));
  }
  void model(const ScriptModule& module) override {
    output.module = std::make_shared<ScriptModule>(module);
  }

  /// What it is, for the check against the plan.
  WrittenOutput written() const {
    WrittenOutput result;
    result.ids = static_cast<std::int64_t>(output.ids.size());
    result.has_model = output.module != nullptr;
    for (const auto& [name, value] : output.tensors)
      result.tensors.push_back({name, value.scalar_type(), value.sizes().vec(),
                                grown.contains(name) && !output.ids.empty()});
    return result;
  }

  Output output;
  std::set<std::string> grown;

 private:
  static void check(const std::string& name, const at::Tensor& value, bool allow_nan) {
    if (!allow_nan && value.is_floating_point() && value.isnan().any().item<bool>()) {
      throw Error("the tensor \"" + name + "\" holds NaN");
    }
  }
};

/// What `Output` holds, as later stages read it.
class MemoryReader final : public ArtifactReader {
 public:
  MemoryReader(std::string kind, Output output)
      : kind_(std::move(kind)), output_(std::move(output)) {}
  std::string kind() const override { return kind_; }
  const Value& metadata() const override { return output_.metadata; }
  std::vector<TensorInfo> tensors() const override {
    std::vector<TensorInfo> result;
    for (const auto& [name, value] : output_.tensors) {
      const bool per_sample = value.dim() > 0 && !output_.ids.empty() &&
                              value.size(0) == static_cast<std::int64_t>(output_.ids.size());
      result.push_back({name, value.scalar_type(), value.sizes().vec(), per_sample});
    }
    return result;
  }
  at::Tensor tensor(const std::string& name) const override {
    const auto found = output_.tensors.find(name);
    if (found != output_.tensors.end()) return found->second;
    std::vector<std::string> names;
    for (const auto& entry : output_.tensors) names.push_back(entry.first);
    throw Error("the artifact has no tensor \"" + name + "\"" + suggestion(name, names));
  }
  at::Tensor rows(const std::string& name, std::int64_t begin, std::int64_t end) const override {
    return tensor(name).slice(0, begin, end);
  }
  std::vector<std::string> sample_ids() const override { return output_.ids; }

 private:
  std::string kind_;
  Output output_;
};

class MemoryPlanInputs final : public PlanInputs {
 public:
  explicit MemoryPlanInputs(const Connections& inputs) : inputs_(inputs) {}
  Problems& problems() const override { return problems_; }
  bool connected(const std::string& port) const override { return inputs_.contains(port); }
  const Model* model(const std::string& port) const override {
    const auto found = inputs_.models.find(port);
    return found == inputs_.models.end() ? nullptr : found->second.get();
  }
  const DatasetInfo* dataset(const std::string& port) const override {
    const auto found = inputs_.datasets.find(port);
    return found == inputs_.datasets.end() ? nullptr : &found->second->info();
  }
  const OutputPlan* artifact(const std::string& port) const override {
    const auto found = inputs_.plans.find(port);
    return found == inputs_.plans.end() ? nullptr : &found->second;
  }

 private:
  const Connections& inputs_;
  mutable Problems problems_;
};

class MemoryContext final : public Context {
 public:
  MemoryContext(const Connections& inputs, std::int64_t chunk_size)
      : inputs_(inputs), chunk_size_(chunk_size) {}
  ~MemoryContext() override {
    if (!scratch_.empty()) {
      std::error_code ignored;
      std::filesystem::remove_all(scratch_, ignored);
    }
  }
  void log(LogLevel, const std::string&) override {}
  void progress(std::int64_t, std::int64_t) override {}
  void check_cancelled() const override {}
  at::Device device() const override { return at::kCPU; }
  at::Generator generator(std::uint64_t stream) const override {
    return at::detail::createCPUGenerator(stream);
  }
  std::int64_t chunk_size() const override { return chunk_size_; }
  const Model& model(const std::string& port) override { return *connection(inputs_.models, port); }
  const Dataset& dataset(const std::string& port) override {
    return *connection(inputs_.datasets, port);
  }
  const ArtifactReader& artifact(const std::string& port) override {
    return *connection(inputs_.artifacts, port);
  }
  std::vector<ArtifactMember> members(const std::string& port) override {
    const auto found = inputs_.members.find(port);
    if (found == inputs_.members.end()) return {{port, {}, &artifact(port)}};
    std::vector<ArtifactMember> all;
    for (const auto& [name, reader] : found->second) all.push_back({name, {}, reader.get()});
    return all;
  }
  NamedTensors bind(const std::string& port, const Batch& batch) override {
    NamedTensors inputs;
    for (const PortInfo& input : model(port).inputs()) {
      const at::Tensor* field = batch.fields.find(input.name);
      inputs.set(input.name, field != nullptr ? *field : batch.fields.begin()->second);
    }
    return inputs;
  }
  std::string field(const std::string& port) override { return port; }
  bool connected(const std::string& port) const override { return inputs_.contains(port); }
  ArtifactWriter& output(const std::string& port) override { return writers[port]; }
  void parallel_for(std::int64_t count, const std::function<void(std::int64_t)>& body) override {
    for (std::int64_t i = 0; i < count; ++i) body(i);
  }
  std::filesystem::path scratch() override {
    if (scratch_.empty()) {
      std::string name = (std::filesystem::temp_directory_path() / "microtome-XXXXXX").string();
      if (mkdtemp(name.data()) == nullptr) throw Error("no temporary folder can be made");
      scratch_ = name;
    }
    return scratch_;
  }

  std::map<std::string, MemoryWriter> writers;

 private:
  template <class T>
  static const T& connection(const std::map<std::string, T>& all, const std::string& port) {
    const auto found = all.find(port);
    if (found == all.end()) throw Error("the port \"" + port + "\" is not connected");
    return found->second;
  }
  const Connections& inputs_;
  std::int64_t chunk_size_;
  std::filesystem::path scratch_;
};

void stream(const Stage& stage, const Plan& plan, MemoryContext& context) {
  const Dataset& data = context.dataset(plan.read->data);
  std::unique_ptr<StageState> total = stage.begin(context);
  std::int64_t index = 0;
  for (const auto& positions : chunks_of(data.info().size, context.chunk_size())) {
    Chunk chunk;
    chunk.index = index++;
    chunk.batch = data.load(positions);
    if (!plan.read->model.empty()) {
      chunk.model = &context.model(plan.read->model);
      chunk.inputs = context.bind(plan.read->model, chunk.batch);
      if (plan.read->forward || !plan.read->capture.empty()) {
        Pass pass;
        pass.capture = plan.read->capture;
        pass.directions = context.directions();
        chunk.recording = chunk.model->run(chunk.inputs, pass);
      }
    }
    const auto state = stage.begin(context);
    stage.batch(*state, chunk, context);
    for (const Chunk::Emission& emission : chunk.emissions) {
      context.output(emission.port).append(emission.tensor, emission.rows, emission.allow_nan);
    }
    std::set<std::string> ports;
    for (const Chunk::Emission& emission : chunk.emissions) ports.insert(emission.port);
    for (const std::string& port : ports) context.output(port).append_ids(chunk.batch.ids);
    stage.merge(*total, *state, context);
  }
  stage.finish(*total, context);
}

}  // namespace

Harness& Harness::model(const std::string& port, std::shared_ptr<const Model> model) {
  inputs_.models[port] = std::move(model);
  return *this;
}
Harness& Harness::dataset(const std::string& port, std::shared_ptr<const Dataset> dataset) {
  inputs_.datasets[port] = std::move(dataset);
  return *this;
}
Harness& Harness::artifact(const std::string& port, const std::string& kind, Output output) {
  auto reader = std::make_shared<MemoryReader>(kind, std::move(output));
  inputs_.plans[port] = {port, kind, reader->tensors()};
  inputs_.artifacts[port] = std::move(reader);
  return *this;
}
Harness& Harness::member(const std::string& port, const std::string& name, const std::string& kind,
                         Output output) {
  auto reader = std::make_shared<MemoryReader>(kind, std::move(output));
  inputs_.plans.try_emplace(port, OutputPlan{port, kind, reader->tensors()});
  inputs_.artifacts.try_emplace(port, reader);
  inputs_.members[port].emplace_back(name, std::move(reader));
  return *this;
}
Harness& Harness::chunk_size(std::int64_t samples) {
  chunk_size_ = samples;
  return *this;
}

std::vector<std::string> Harness::plan_problems(const Stage& stage) const {
  const MemoryPlanInputs inputs(inputs_);
  Plan plan;
  stage.plan(inputs, plan);
  std::vector<std::string> messages;
  for (const Problem& problem : inputs.problems().list()) messages.push_back(problem.message);
  return messages;
}

Plan Harness::plan(const Stage& stage) const {
  const MemoryPlanInputs inputs(inputs_);
  Plan plan;
  stage.plan(inputs, plan);
  std::string mistakes;
  for (const Problem& problem : inputs.problems().list()) mistakes += problem.message + "\n";
  if (!mistakes.empty()) throw Error(mistakes);
  return plan;
}

std::map<std::string, Output> Harness::run(const Stage& stage) const {
  const Plan plan = this->plan(stage);
  MemoryContext context(inputs_, chunk_size_);
  for (const OutputPlan& output : plan.outputs) context.output(output.port);
  if (plan.read) {
    stream(stage, plan, context);
  } else {
    stage.run(context);
  }
  std::optional<std::int64_t> samples;
  if (plan.read) samples = context.dataset(plan.read->data).info().size;
  for (const OutputPlan& output : plan.outputs)
    check_output(output, context.writers.at(output.port).written(), samples);
  std::map<std::string, Output> result;
  for (auto& [port, writer] : context.writers) {
    const auto planned = [&port = port](const OutputPlan& output) { return output.port == port; };
    if (std::none_of(plan.outputs.begin(), plan.outputs.end(), planned))
      throw Error("the plan has no output \"" + port + "\"");
    result[port] = std::move(writer.output);
  }
  return result;
}

}  // namespace microtome::testing
