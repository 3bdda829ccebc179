#pragma once

#include <string>

#include "microtome/value.h"

namespace microtome::host::report {

/// A value as YAML that reads back as the same.
std::string to_yaml(const Value& value);

}  // namespace microtome::host::report
