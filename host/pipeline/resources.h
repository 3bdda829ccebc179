#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "host/data/host_dataset.h"
#include "host/loader/catalog.h"
#include "host/model/program_model.h"
#include "host/pipeline/pipeline.h"

namespace microtome::host {

/// A model that a pipeline declares, opened.
struct OpenModel {
  std::shared_ptr<ProgramModel> model;
  std::filesystem::path file;
  Value canonical;  ///< what its declaration says, for the key
  /// It does not run on samples that were made for it, and is to be tried on real ones.
  bool made_samples_failed = false;
  /// The same as it runs on datasets, where it does not say itself what it takes.
  std::vector<std::shared_ptr<ProgramModel>> fed;
};

/// The models and datasets of a pipeline, opened. What could not be opened is absent; why is in
/// `problems`.
struct Resources {
  std::map<std::string, OpenModel> models;
  std::map<std::string, std::shared_ptr<HostDataset>> datasets;

  /// Calls `action` for each model, those that are fed by datasets included.
  void for_each_model(const std::function<void(ProgramModel&)>& action) const;
};

Resources open_resources(const Pipeline& pipeline, Catalog& catalog, at::Device device,
                         Problems& problems);

/// JSON Schemas of a model's and a dataset's declaration.
Value model_schema();
Value dataset_schema(const std::vector<const StageDescription*>& stage_types);
/// Whether a stage type is a source of samples, which is no step of a pipeline.
bool is_dataset_source(const StageDescription& description);

}  // namespace microtome::host
