#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "host/loader/catalog.h"
#include "host/pipeline/binding.h"
#include "host/pipeline/pipeline.h"
#include "host/pipeline/resources.h"
#include "microtome/stage.h"

namespace microtome::host {

/// What an input of a stage is connected to.
struct Connection {
  enum class Kind { model, dataset, field, artifact };
  Kind kind = Kind::model;
  std::string name;                 ///< of the model or dataset
  std::string field;                ///< for a field of a dataset
  std::vector<std::size_t> stages;  ///< for artifacts: one, or the members of a matrix or a list
  std::string output;               ///< for artifacts: the port there
};

/// A stage that is ready to run.
struct PlannedStage {
  std::string id;
  std::string plugin;  ///< that its type is from
  const StageType* type = nullptr;
  std::unique_ptr<Stage> stage;
  Plan plan;
  std::int64_t chunk = 1;  ///< samples that are computed together
  std::map<std::string, Connection> connections;
  /// Models that it will make, by output: their structure, not their parameters.
  std::map<std::string, std::shared_ptr<ProgramModel>> models;
  /// For each port with a model: the hook points that the stage names there.
  std::map<std::string, std::vector<HookPoint>> hooks;
  /// Declared models as this stage's plan runs them, by port.
  std::map<std::string, std::shared_ptr<const ProgramModel>> running;
  /// Declared models as they are fed here, by port, where they do not say what they take.
  std::map<std::string, std::shared_ptr<ProgramModel>> fed;
  /// For each port with a model: the fields that feed its inputs, in the order of these.
  std::map<std::string, std::vector<Binding>> bindings;
  std::string bound_dataset;              ///< whose fields these are
  Value parameters;                       ///< with defaults
  std::vector<std::string> nested_types;  ///< stage types that its parameters name
  /// Artifacts that its parameters name, as inputs.
  std::vector<std::pair<InputText, PortDescription>> references;

  /// A model at a port as this stage runs it: by the plan that its hook points allow.
  std::shared_ptr<const ProgramModel> run_by_plan(const ProgramModel& model,
                                                  const std::string& port,
                                                  const RuntimeSettings& runtime) const;
};

/// A pipeline that was checked.
struct PlannedPipeline {
  Pipeline pipeline;
  Resources resources;
  std::vector<PlannedStage> stages;  ///< as `pipeline.stages`
  std::vector<std::size_t> order;    ///< each after those that it needs
  bool plugin_refused = false;       ///< one of the problems is a refused plugin

  /// The model at a connection, as it is known before the run; nullptr when it is none or wrong.
  const ProgramModel* model(const Connection& connection) const;
  /// The model at a stage's port as its dataset feeds it.
  const ProgramModel* model(const PlannedStage& stage, const std::string& port) const;
};

/// Opens models and datasets, makes and plans all stages. Computes nothing of what the stages
/// compute. All mistakes go to `problems`; the result may be run only when there are none.
PlannedPipeline check_pipeline(Pipeline pipeline, Catalog& catalog, at::Device device,
                               Problems& problems);

}  // namespace microtome::host
