#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "host/data/host_dataset.h"
#include "host/pipeline/binding.h"

namespace microtome::host {

/// Models as they run on datasets, where they do not say themselves what they take: they learn it
/// from the dataset's types, shapes and first samples.
class Feeding {
 public:
  /// The model on this dataset; one object for all datasets of the same types and shapes. nullptr
  /// where the shapes of samples differ, or none can be read: then nothing is known before the run.
  /// Throws `Error` that says why the model can't run on samples of it.
  std::shared_ptr<ProgramModel> feed(const ProgramModel& model, const HostDataset& data,
                                     const std::vector<Binding>& bindings);

 private:
  std::map<std::string, std::shared_ptr<ProgramModel>> fed_;  ///< by model, types and shapes
};

}  // namespace microtome::host
