#include "host/pipeline/schema.h"

#include "host/pipeline/pipeline.h"
#include "host/pipeline/resources.h"

namespace microtome::host {
namespace {

Value object() {
  Value schema;
  schema.set("type", "object");
  return schema;
}

Value map_of(Value content) {
  Value schema = object();
  schema.set("additionalProperties", std::move(content));
  return schema;
}

Value stage_schema(const StageDescription& stage) {
  Value uses;
  uses.set("const", stage.type);
  uses.set("description", stage.summary);
  Value inputs = Value::map(), required_inputs = Value::list();
  for (const PortDescription& port : stage.inputs) {
    Value schema;
    if (port.many) {
      Value name, names;
      name.set("type", "string");
      names.set("type", "array");
      names.set("items", name);
      schema.set("anyOf", Value(Value::List{std::move(name), std::move(names)}));
    } else {
      schema.set("type", "string");
    }
    schema.set("description", port.doc);
    inputs.set(port.name, std::move(schema));
    if (!port.optional) required_inputs.push_back(port.name);
  }
  Value inputs_schema = object();
  inputs_schema.set("properties", std::move(inputs));
  inputs_schema.set("additionalProperties", false);
  Value properties;
  properties.set("uses", std::move(uses));
  properties.set("inputs", std::move(inputs_schema));
  // A matrix may bring required parameters, so none is demanded here; the checker does.
  Value with = parameters_schema(stage);
  with.set("required", Value::list());
  properties.set("with", std::move(with));
  properties.set("matrix", object());
  properties.set("bind", object());
  Value text;
  text.set("type", "string");
  properties.set("description", std::move(text));
  Value required = Value::list();
  required.push_back("uses");
  Value schema = object();
  schema.set("properties", std::move(properties));
  schema.set("required", std::move(required));
  schema.set("additionalProperties", false);
  return schema;
}

}  // namespace

Value parameters_schema(const StageDescription& description) {
  Value properties = Value::map(), required = Value::list();
  for (const ParameterDescription& parameter : description.parameters) {
    Value schema = parameter.schema;
    if (schema.is_null()) schema = Value::map();
    schema.set("description",
               parameter.doc + (parameter.unit.empty() ? "" : " (" + parameter.unit + ")"));
    if (!parameter.default_value.is_null()) schema.set("default", parameter.default_value);
    if (parameter.minimum && schema.find("type") != nullptr && schema.at("type") != Value("array"))
      schema.set("minimum", *parameter.minimum);
    if (parameter.maximum && schema.find("type") != nullptr && schema.at("type") != Value("array"))
      schema.set("maximum", *parameter.maximum);
    properties.set(parameter.name, std::move(schema));
    if (parameter.required) required.push_back(parameter.name);
  }
  Value schema = object();
  schema.set("properties", std::move(properties));
  schema.set("required", std::move(required));
  schema.set("additionalProperties", false);
  return schema;
}

Value pipeline_schema(const std::vector<const StageDescription*>& stage_types) {
  Value schema = pipeline_schema_frame();
  Value stages = Value::list();
  for (const StageDescription* stage : stage_types) {
    if (!is_dataset_source(*stage)) stages.push_back(stage_schema(*stage));
  }
  Value any;
  any.set("anyOf", std::move(stages));
  Value& properties = *schema.find("properties");
  properties.set("stages", map_of(std::move(any)));
  properties.set("models", map_of(model_schema()));
  properties.set("datasets", map_of(dataset_schema(stage_types)));
  StageSpec<RuntimeSettings> runtime;
  RuntimeSettings::describe(runtime);
  properties.set("runtime", parameters_schema(runtime.description()));
  return schema;
}

}  // namespace microtome::host
