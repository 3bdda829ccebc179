#pragma once

#include <exception>
#include <string>

namespace microtome::host {

/// What an exception says, for a person: of LibTorch's its first sentence, in Microtome's words
/// where they are known, without stacks, source files of LibTorch and pleas to report a bug.
std::string plain_reason(const std::exception& error);

}  // namespace microtome::host
