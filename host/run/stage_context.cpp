#include "host/run/stage_context.h"

#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/task_arena.h>

#include "host/model/torchscript/loader.h"
#include "host/model/torchscript/module_file.h"
#include "host/run/thread_state.h"
#include "host/support/hash.h"

namespace microtome::host {

StageContext::StageContext(const RunEnvironment& run, std::size_t stage,
                           std::filesystem::path folder,
                           std::map<std::string, std::vector<std::filesystem::path>> inputs)
    : run_(run), stage_(stage), folder_(std::move(folder)), inputs_(std::move(inputs)) {
  for (const OutputPlan& output : this->stage().plan.outputs) {
    outputs_[output.port] =
        std::make_unique<ArtifactFolderWriter>(folder_ / output.port, output.kind);
  }
}

StageContext::~StageContext() {
  std::error_code ignored;
  std::filesystem::remove_all(folder_ / ".scratch", ignored);
}

void StageContext::log(LogLevel level, const std::string& message) {
  run_.journal.log(level, stage().id, message);
}

void StageContext::progress(std::int64_t done, std::int64_t total) {
  run_.journal.progress(stage().id, done, total, "steps");
}

at::Generator StageContext::generator(std::uint64_t stream) const {
  if (!stage().plan.random) {
    throw Error("the stage draws random numbers, but its plan does not say that it is random");
  }
  return at::detail::createCPUGenerator(seed_of(std::to_string(run_.planned.pipeline.seed) + "/" +
                                                stage().id + "/" + std::to_string(stream)));
}

const Connection& StageContext::connection(const std::string& port) const {
  const auto found = stage().connections.find(port);
  if (found == stage().connections.end())
    throw Error("the input \"" + port + "\" is not connected");
  return found->second;
}

bool StageContext::connected(const std::string& port) const {
  return stage().connections.contains(port);
}

const Model& StageContext::model(const std::string& port) { return *planned_model(port); }

const std::shared_ptr<const ProgramModel>& StageContext::planned_model(const std::string& port) {
  const Connection& from = connection(port);
  const std::lock_guard lock(models_mutex_);
  auto& model = models_[port];
  if (model) return model;
  if (const auto running = stage().running.find(port); running != stage().running.end())
    return model = running->second;
  const auto whole = run_.made_models.open(inputs_.at(port).at(0), [&] {
    const ArtifactReader& made = artifact(port);
    auto opened = std::make_shared<ProgramModel>(
        run_.planned.stages[from.stages.at(0)].id,
        torchscript::load(inputs_.at(port).at(0) / model_file_name),
        torchscript::read_model_input(made.metadata().at("input")), run_.device);
    opened->set_check([&run = run_] { run.cancellation.check(); });
    opened->set_watch(run_.profile);
    return opened;
  });
  return model = stage().run_by_plan(*whole, port, run_.planned.pipeline.runtime);
}

std::shared_ptr<ProgramModel> MadeModels::open(
    const std::filesystem::path& artifact,
    const std::function<std::shared_ptr<ProgramModel>()>& load) {
  const std::lock_guard lock(mutex_);
  std::weak_ptr<ProgramModel>& known = models_[artifact.string()];
  std::shared_ptr<ProgramModel> model = known.lock();
  if (!model) known = model = load();
  return model;
}

const HostDataset& StageContext::dataset(const std::string& port) {
  return *run_.planned.resources.datasets.at(connection(port).name);
}

const ArtifactReader& StageContext::artifact(const std::string& port) {
  const std::vector<ArtifactMember> all = members(port);
  if (all.size() != 1) throw Error("the input \"" + port + "\" is no single artifact");
  return *all[0].artifact;
}

std::vector<ArtifactMember> StageContext::members(const std::string& port) {
  const Connection& from = connection(port);
  const auto folders = inputs_.find(port);
  if (folders == inputs_.end()) throw Error("the input \"" + port + "\" is no artifact");
  const std::lock_guard lock(readers_mutex_);
  auto& readers = readers_[port];
  std::vector<ArtifactMember> all;
  for (std::size_t i = 0; i < folders->second.size(); ++i) {
    if (readers.size() == i) {
      readers.push_back(std::make_unique<ArtifactFolderReader>(folders->second[i]));
    }
    const StageNode& member = run_.planned.pipeline.stages[from.stages[i]];
    all.push_back({member.name, member.element, readers[i].get()});
  }
  return all;
}

NamedTensors StageContext::bind(const std::string& port, const Batch& batch) {
  NamedTensors inputs;
  const auto found = stage().bindings.find(port);
  if (found == stage().bindings.end())
    throw Error("nothing feeds the model at the input \"" + port + "\"");
  for (const Binding& binding : found->second)
    inputs.set(binding.input, batch.fields.at(binding.field).to(run_.device, binding.to));
  return inputs;
}

std::string StageContext::field(const std::string& port) { return connection(port).field; }

ArtifactFolderWriter& StageContext::output(const std::string& port) {
  const auto found = outputs_.find(port);
  if (found == outputs_.end()) throw Error("the plan has no output \"" + port + "\"");
  return *found->second;
}

void StageContext::parallel_for(std::int64_t count, const std::function<void(std::int64_t)>& body) {
  const ThreadState state;
  // Isolated in the lane's own arena: no other stage's task is taken while this waits.
  tbb::task_arena arena(static_cast<int>(run_.jobs));
  arena.execute([&] {
    tbb::parallel_for(std::int64_t{0}, count, [&](std::int64_t i) {
      const ThreadState::Guard guard(state);
      run_.cancellation.check();
      const ComputeSlots::Slot slot(run_.slots);
      body(i);
    });
  });
}

std::filesystem::path StageContext::scratch() {
  const auto folder = folder_ / ".scratch";
  std::filesystem::create_directories(folder);
  return folder;
}

void StageContext::finish_outputs() {
  const Plan& plan = stage().plan;
  std::optional<std::int64_t> samples;
  if (plan.read) samples = dataset(plan.read->data).info().size;
  for (const OutputPlan& output : plan.outputs) outputs_.at(output.port)->finish(output, samples);
}

}  // namespace microtome::host
