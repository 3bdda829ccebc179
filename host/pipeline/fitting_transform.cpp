#include "host/pipeline/fitting_transform.h"

#include <algorithm>

namespace microtome::host {
namespace {

/// Whether a declared dataset, or what it is made from, reads image files.
bool is_of_image_files(const Pipeline& pipeline, const std::string& dataset) {
  const auto& all = pipeline.datasets;
  std::string name = dataset;
  // Datasets that are made from each other in a circle are reported elsewhere.
  for (std::size_t steps = 0; steps <= all.size(); ++steps) {
    const auto found = std::find_if(all.begin(), all.end(), [&](const Declaration& declaration) {
      return declaration.name == name;
    });
    if (found == all.end()) return false;
    if (const Value* source = found->content.find("source"))
      return *source == Value("image_folder");
    const Value* from = found->content.find("from");
    if (const Value* zipped = found->content.find("zip"); zipped != nullptr && zipped->is_map())
      from = &zipped->as_map().front().value;
    if (from == nullptr || !from->is_string()) return false;
    name = from->as_string();
  }
  return false;
}

}  // namespace

std::string fitting_transform(const Pipeline& pipeline, const std::string& dataset,
                              const std::vector<std::int64_t>& wanted,
                              const std::vector<std::int64_t>& given) {
  if (!is_of_image_files(pipeline, dataset))
    return "the source of \"" + dataset + "\" must give images of this size";
  if (wanted.size() != 3 || given.size() != 3) return "an image is channels x height x width here";
  if (wanted[0] != 1 && wanted[0] != 3) {
    return "image files give 3 channels, or 1 with transform: {channels: 1}; others can come from "
           "tensors";
  }
  std::string parts;
  if (wanted[0] != given[0]) parts = "channels: " + std::to_string(wanted[0]);
  if (wanted[1] != given[1] || wanted[2] != given[2]) {
    parts += (parts.empty() ? "resize: [" : ", resize: [") + std::to_string(wanted[1]) + ", " +
             std::to_string(wanted[2]) + "]";
  }
  return "give the dataset transform: {" + parts + "}";
}

}  // namespace microtome::host
