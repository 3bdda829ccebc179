#pragma once

#include <string>
#include <vector>

#include "microtome/value.h"

namespace microtome::host {

/// Applies `--set PATH=VALUE`: the value is YAML. All of the path but its last name must exist, but
/// `with`, `vars` and `runtime` are made where they are missing. Mistakes go to `problems`.
void apply_override(Value& document, const std::string& assignment, Problems& problems);

/// Replaces `${name}` by `vars` and `${env:NAME}` by the environment in the whole document. A value
/// that is nothing but `${name}` takes the variable's type. `${matrix.KEY}` is left for
/// `substitute_matrix`.
void substitute_variables(Value& document, Problems& problems);

/// Replaces `${matrix.KEY}` in a copy of `value`. Mistakes go to `problems`.
Value substitute_matrix(const Value& value, const Value& matrix, Problems& problems);

}  // namespace microtome::host
