#pragma once

#include "host/model/program_model.h"
#include "microtome/value.h"

namespace microtome::host {

/// What a pipeline declares about the inputs of a model: `input` for the one that must be given, or
/// `inputs` by name; either may be an empty map. Throws `Error` with the place of a mistake.
DeclaredInputs read_inputs(const Value& input, const Value& inputs, const Program& program);

/// JSON Schemas of `input` and of `inputs`.
Value input_schema();
Value inputs_schema();

/// The inputs with types and sizes as far as they are known: `image (float32, 3 x 8 x 8)`.
std::string describe_inputs(const std::vector<PortInfo>& inputs);
/// Of all inputs of a model; those that may be left out are marked.
std::string describe_inputs(const ProgramModel& model);

/// Runs the model on example inputs, if there are any, so that shapes are known. Returns why that
/// can't be done, and what to do; nothing when it can.
std::optional<std::string> try_model(const ProgramModel& model);

}  // namespace microtome::host
