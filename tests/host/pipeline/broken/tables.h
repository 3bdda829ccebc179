#pragma once

#include <string>
#include <vector>

#include "tests/host/pipeline/broken_pipelines.h"

namespace microtome::testing::broken {

/// Keys, names and stages of the document as a whole, and `runtime:`.
std::vector<BrokenPipeline> document();
/// Text that is no YAML that we take.
std::vector<BrokenPipeline> yaml();
/// `${...}` and `--set`.
std::vector<BrokenPipeline> substitution();
/// What stands under `with`: parameters, hook points, targets.
std::vector<BrokenPipeline> parameters();
/// What a stage refers to: inputs, matrices, bindings.
std::vector<BrokenPipeline> inputs();
/// Declared models.
std::vector<BrokenPipeline> models();
/// Declared datasets.
std::vector<BrokenPipeline> datasets();

/// Lines 1 to 9 that are right, then the stages.
std::string with_stages(const std::string& stages);
/// The same with one stage, `activations` or `integrated_gradients`, and its parameters.
std::string acts(const std::string& with);
std::string ig(const std::string& with);
/// A document with one declaration in the place of the data, or of the model.
std::string with_data(const std::string& dataset);
std::string with_model(const std::string& model);

}  // namespace microtome::testing::broken
