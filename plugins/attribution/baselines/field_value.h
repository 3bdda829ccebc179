#pragma once

#include <string>

#include "microtome/sdk.h"

namespace attribution {

/// Adds what is known to be wrong with taking the dataset's field as a value at `at` of the model
/// at the port "model"; `parameter` is who names it.
void check_field_value(const microtome::PlanInputs& inputs, const microtome::HookPoint& at,
                       const std::string& field, const std::string& parameter);

/// The field of each sample as a value at `at`, like `value`, that of the samples there: as it is
/// when it has that shape, else in place of the model's only input and taken to `at`. Throws
/// `microtome::Error` when it can be neither; `parameter` is who names it.
at::Tensor field_value(const microtome::AttributionInput& input, const microtome::HookPoint& at,
                       const std::string& field, const at::Tensor& value,
                       const std::string& parameter);

}  // namespace attribution
