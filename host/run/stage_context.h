#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "host/pipeline/checker.h"
#include "host/run/cancellation.h"
#include "host/run/journal.h"
#include "host/run/lanes.h"
#include "host/run/profile.h"
#include "host/store/artifact_folder.h"
#include "microtome/context.h"

namespace microtome::host {

/// Models that stages of the run made, opened once for all that use them at the same time. [any
/// number of threads]
class MadeModels {
 public:
  std::shared_ptr<ProgramModel> open(const std::filesystem::path& artifact,
                                     const std::function<std::shared_ptr<ProgramModel>()>& load);

 private:
  std::mutex mutex_;
  std::map<std::string, std::weak_ptr<ProgramModel>> models_;
};

/// What all stages of a run share.
struct RunEnvironment {
  const PlannedPipeline& planned;
  at::Device device;
  std::size_t jobs;
  ComputeSlots& slots;
  Cancellation& cancellation;
  Journal& journal;
  MadeModels& made_models;
  Profile* profile = nullptr;  ///< nullptr: nobody looks
};

/// The context of one running stage.
class StageContext final : public Context {
 public:
  /// `inputs`: folders of the artifacts at its ports, in the order of matrix members.
  StageContext(const RunEnvironment& run, std::size_t stage, std::filesystem::path folder,
               std::map<std::string, std::vector<std::filesystem::path>> inputs);
  ~StageContext() override;

  void log(LogLevel level, const std::string& message) override;
  void progress(std::int64_t done, std::int64_t total) override;
  void check_cancelled() const override { run_.cancellation.check(); }
  at::Device device() const override { return run_.device; }
  at::Generator generator(std::uint64_t stream) const override;
  std::int64_t chunk_size() const override { return stage().chunk; }
  const Model& model(const std::string& port) override;
  const HostDataset& dataset(const std::string& port) override;
  const ArtifactReader& artifact(const std::string& port) override;
  std::vector<ArtifactMember> members(const std::string& port) override;
  NamedTensors bind(const std::string& port, const Batch& batch) override;
  std::string field(const std::string& port) override;
  bool connected(const std::string& port) const override;
  ArtifactFolderWriter& output(const std::string& port) override;
  void parallel_for(std::int64_t count, const std::function<void(std::int64_t)>& body) override;
  std::filesystem::path scratch() override;

  /// The model at a port as this stage's plan runs it.
  const std::shared_ptr<const ProgramModel>& planned_model(const std::string& port);
  /// Completes what was written. Throws `PlanBroken` where it is not what was planned.
  void finish_outputs();

 private:
  const PlannedStage& stage() const { return run_.planned.stages[stage_]; }
  const Connection& connection(const std::string& port) const;

  const RunEnvironment& run_;
  std::size_t stage_;
  std::filesystem::path folder_;
  std::map<std::string, std::vector<std::filesystem::path>> inputs_;
  std::map<std::string, std::unique_ptr<ArtifactFolderWriter>> outputs_;
  std::map<std::string, std::vector<std::unique_ptr<ArtifactFolderReader>>> readers_;
  std::map<std::string, std::shared_ptr<const ProgramModel>> models_;
  std::mutex readers_mutex_, models_mutex_;
};

}  // namespace microtome::host
