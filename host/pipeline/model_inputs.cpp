#include "host/pipeline/model_inputs.h"

#include <algorithm>

#include "host/support/element_type.h"
#include "microtome/parameter.h"

namespace microtome::host {
namespace {

constexpr std::int64_t largest_side = 1'000'000;

std::vector<std::string> names_of(const Program& program) {
  std::vector<std::string> names;
  for (const ProgramPort& input : program.inputs) names.push_back(input.name);
  return names;
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

/// A single value stands for a list of one.
std::vector<Value> items(const Value& value) {
  return value.is_list() ? value.as_list() : std::vector<Value>{value};
}

std::vector<std::int64_t> read_size(const Value& value) {
  std::vector<std::int64_t> size;
  for (const Value& side : items(value)) {
    if (side.is_string() && side.as_string() == "?") {
      size.push_back(-1);
      continue;
    }
    size.push_back(side.as_integer());
    if (size.back() != -1 && (size.back() < 1 || size.back() > largest_side)) {
      throw Error(side.location(), "sizes are from 1 to " + std::to_string(largest_side) +
                                       ", or \"?\" for a length that may differ");
    }
  }
  return size;
}

std::vector<double> read_numbers(const Value& value) {
  std::vector<double> numbers;
  for (const Value& number : items(value)) numbers.push_back(number.as_number());
  return numbers;
}

void read_moments(const Value& value, DeclaredInput& input) {
  const Value* mean = value.find("mean");
  const Value* std = value.find("std");
  if ((mean == nullptr) != (std == nullptr))
    throw Error(value.location(), "mean and std go together");
  if (mean == nullptr) return;
  input.mean = read_numbers(*mean);
  input.std = read_numbers(*std);
  if (input.mean.empty() || input.mean.size() != input.std.size())
    throw Error(mean->location(), "mean and std need one number a channel each");
  for (const double number : input.std) {
    if (!(number > 0)) throw Error(std->location(), "std must be above 0");
  }
  if (input.type && !c10::isFloatingType(*input.type))
    throw Error(mean->location(), "mean and std are for images, not for " + type_name(*input.type));
}

DeclaredInput read_one(const Value& value) {
  DeclaredInput input;
  const std::vector<std::string> keys = {"size", "type", "mean", "std"};
  for (const auto& entry : value.as_map()) {
    if (std::find(keys.begin(), keys.end(), entry.key) == keys.end()) {
      throw Error(entry.key_location,
                  "unknown key \"" + entry.key + "\" of an input" + suggestion(entry.key, keys));
    }
  }
  if (const Value* size = value.find("size")) input.size = read_size(*size);
  if (const Value* type = value.find("type")) {
    input.type = type_named(type->as_string());
    if (!input.type)
      throw Error(type->location(), "there is no type \"" + type->as_string() + "\"" +
                                        suggestion(type->as_string(), type_names()));
  }
  read_moments(value, input);
  return input;
}

std::string described(const PortInfo& input, bool is_optional) {
  return input.name + " (" + type_name(input.type) +
         (input.shape.empty() ? "" : ", " + shape_name(input.shape)) +
         (is_optional ? ", optional" : "") + ")";
}

}  // namespace

DeclaredInputs read_inputs(const Value& input, const Value& inputs, const Program& program) {
  const std::vector<std::string> names = names_of(program);
  if (!input.as_map().empty()) {
    if (!inputs.as_map().empty())
      throw Error(inputs.location(),
                  "a model's inputs are declared by input or by inputs, not both");
    const auto required = std::count_if(program.inputs.begin(), program.inputs.end(),
                                        [](const ProgramPort& port) { return !port.optional; });
    if (required != 1 && names.size() != 1) {
      throw Error(input.location(), "the model has the inputs " + joined(names) +
                                        "; declare them by name: inputs: {" + names[0] +
                                        ": {size: ...}, ...}");
    }
    return DeclaredInputs({read_one(input)});
  }
  std::vector<DeclaredInput> all;
  for (const auto& entry : inputs.as_map()) {
    if (std::find(names.begin(), names.end(), entry.key) == names.end()) {
      throw Error(entry.key_location,
                  "the model has no input \"" + entry.key + "\"" + suggestion(entry.key, names));
    }
    all.push_back(read_one(entry.value));
    all.back().name = entry.key;
  }
  return DeclaredInputs(std::move(all));
}

Value input_schema() {
  return from_json(R"({
    "type": "object",
    "properties": {
      "size": {
        "type": "array",
        "items": {"anyOf": [{"type": "integer", "minimum": -1}, {"const": "?"}]},
        "description": "of one sample, without N; ? or -1 is a length that may differ"
      },
      "type": {"enum": ["float32", "float64", "float16", "bfloat16", "int64", "int32", "int16",
                        "int8", "uint8", "bool"],
               "description": "else what the model's operators take"},
      "mean": {"type": "array", "items": {"type": "number"}},
      "std": {"type": "array", "items": {"type": "number", "exclusiveMinimum": 0}}
    },
    "additionalProperties": false
  })");
}

Value inputs_schema() {
  Value schema = Value::map();
  schema.set("type", "object");
  schema.set("additionalProperties", input_schema());
  return schema;
}

std::string describe_inputs(const std::vector<PortInfo>& inputs) {
  std::string text;
  for (const PortInfo& input : inputs) text += (text.empty() ? "" : ", ") + described(input, false);
  return text;
}

std::string describe_inputs(const ProgramModel& model) {
  std::string text;
  for (std::size_t i = 0; i < model.inputs().size(); ++i)
    text += (text.empty() ? "" : ", ") +
            described(model.inputs()[i], model.program().inputs[i].optional);
  return text;
}

std::optional<std::string> try_model(const ProgramModel& model) {
  std::string why;
  try {
    model.outputs();
    return std::nullopt;
  } catch (const Error& error) {
    why = error.full();
  }
  for (std::size_t i = 0; i < model.inputs().size(); ++i) {
    const at::ScalarType type = model.given_type(i);
    if (type != at::kHalf && type != at::kBFloat16) continue;
    why += "; the network is in " + type_name(type) +
           ", in which this LibTorch does not compute everything: save it in float32, net.float()";
    break;
  }
  return why;
}

}  // namespace microtome::host
