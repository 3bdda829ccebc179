#pragma once

#include <string>

namespace microtome::host {

/// Why an operator failed, in words for a person, from what LibTorch says.
std::string operator_failure(const std::string& libtorch_text);

}  // namespace microtome::host
