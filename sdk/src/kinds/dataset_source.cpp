#include "microtome/kinds/dataset_source.h"

namespace microtome {

void DatasetSource::plan(const PlanInputs& inputs, Plan&) const {
  inputs.problems().add({}, "this is a source of samples; name it under datasets, as `source`");
}

void* DatasetSource::capability(std::string_view id) {
  return id == capability_id ? static_cast<DatasetSource*>(this) : nullptr;
}

}  // namespace microtome
