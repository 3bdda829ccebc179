#pragma once

#include <filesystem>

#include "host/model/program.h"
#include "microtome/script_module.h"
#include "microtome/value.h"

namespace microtome::host::torchscript {

/// Writes a module that a stage made as a file that `torch::jit::load` opens.
/// Throws `Error` with the compiler's message when its source is wrong.
void save(const ScriptModule& module, const std::filesystem::path& file);
/// Its program, without a file.
Program lower(const ScriptModule& module);

/// What is said about a model's input, as artifacts keep it.
Value to_value(const ModelInput& input);
ModelInput read_model_input(const Value& value);

}  // namespace microtome::host::torchscript
