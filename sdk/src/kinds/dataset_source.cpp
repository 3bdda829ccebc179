#include "microtome/kinds/dataset_source.h"

namespace microtome {

Plan DatasetSource::plan(const PlanInputs& inputs) const {
  inputs.problems().add({}, "this is a source of samples; name it under datasets, as `source`");
  return {};
}

void* DatasetSource::capability(std::string_view id) {
  return id == capability_id ? static_cast<DatasetSource*>(this) : nullptr;
}

}  // namespace microtome
