#pragma once

#include <exception>
#include <string>

namespace microtome::host::torchscript {

/// What LibTorch says in an exception, for a person: its first sentence, without stack, source
/// files of LibTorch and pleas to report a bug.
std::string plain_reason(const std::exception& error);

}  // namespace microtome::host::torchscript
