#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "microtome/tensor.h"

namespace microtome::host {

/// The type of a tensor's elements as pipelines and messages call it: `float32`, `int64`.
std::string type_name(at::ScalarType type);
/// Nothing when there is no such type, or none that a field or an input can have.
std::optional<at::ScalarType> type_named(std::string_view name);
/// The names that `type_named` knows.
std::vector<std::string> type_names();

/// Whether each value of one type is a value of the other.
bool converts_exactly(at::ScalarType from, at::ScalarType to);

/// `3 x 8 x 8`, with `?` for lengths that may differ; `one number` without dimensions.
std::string shape_name(at::IntArrayRef shape);

}  // namespace microtome::host
