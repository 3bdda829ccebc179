#include "tests/host/pipeline/broken_pipelines.h"

#include "tests/host/pipeline/broken/tables.h"

namespace microtome::testing {
namespace broken {

std::string with_stages(const std::string& stages) {
  return "microtome: 1\n"
         "name: broken\n"
         "vars: {steps: 8}\n"
         "models:\n"
         "  net: {source: torchscript, path: $MODEL, input: {size: [3, 8, 8]}}\n"
         "datasets:\n"
         "  test: {source: image_folder, path: $DATA}\n"
         "  other: {from: test, where: {label: red}}\n"
         "stages:\n" +
         stages;
}

std::string acts(const std::string& with) {
  return with_stages(
      "  acts:\n    uses: activations\n    inputs: {model: net, data: test}\n    with: " + with +
      "\n");
}

std::string ig(const std::string& with) {
  return with_stages(
      "  ig:\n    uses: integrated_gradients\n    inputs: {model: net, data: test}\n    with: " +
      with + "\n");
}

std::string with_data(const std::string& dataset) {
  return "microtome: 1\nname: broken\nmodels:\n  net: {source: torchscript, path: $MODEL, input: "
         "{size: [3, 8, 8]}}\ndatasets:\n" +
         dataset + "stages:\n  a: {uses: evaluate, inputs: {model: net, data: test}}\n";
}

std::string with_model(const std::string& model) {
  return "microtome: 1\nname: broken\nmodels:\n" + model +
         "datasets:\n  test: {source: image_folder, path: $DATA}\nstages:\n  a: {uses: evaluate, "
         "inputs: {model: net, data: test}}\n";
}

}  // namespace broken

std::vector<BrokenPipeline> broken_pipelines() {
  std::vector<BrokenPipeline> all;
  for (const auto& table :
       {broken::document(), broken::yaml(), broken::substitution(), broken::parameters(),
        broken::inputs(), broken::models(), broken::datasets()})
    all.insert(all.end(), table.begin(), table.end());
  return all;
}

}  // namespace microtome::testing
