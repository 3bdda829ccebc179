#include "host/run/keys.h"

#include "host/support/hash.h"

namespace microtome::host {

InputHashes hash_inputs(const PlannedPipeline& planned, ContentIndex& index) {
  InputHashes hashes;
  for (const auto& [name, open] : planned.resources.models) {
    hashes.models[name] = hash_text(index.hash(open.file) + to_json(open.canonical));
  }
  for (const auto& [name, dataset] : planned.resources.datasets)
    hashes.datasets[name] = dataset->content_hash(index);
  return hashes;
}

std::vector<std::string> stage_keys(const PlannedPipeline& planned, Catalog& catalog,
                                    const InputHashes& hashes, const Value& fingerprint) {
  std::vector<std::string> keys(planned.stages.size());
  for (const std::size_t i : planned.order) {
    const PlannedStage& stage = planned.stages[i];
    Value key = Value::map();
    key.set("type", stage.type->description().type);
    key.set("plugin", catalog.plugin_hash(planned.pipeline.stages[i].uses));
    Value nested = Value::list();
    for (const std::string& type : stage.nested_types) nested.push_back(catalog.plugin_hash(type));
    key.set("nested", std::move(nested));
    key.set("parameters", stage.parameters);
    Value inputs = Value::map();
    for (const auto& [port, connection] : stage.connections) {
      Value input = Value::map();
      switch (connection.kind) {
        case Connection::Kind::model:
          input.set("model", hashes.models.at(connection.name));
          break;
        case Connection::Kind::dataset:
          input.set("dataset", hashes.datasets.at(connection.name));
          break;
        case Connection::Kind::field:
          input.set("dataset", hashes.datasets.at(connection.name));
          input.set("field", connection.field);
          break;
        case Connection::Kind::artifact: {
          Value members = Value::list();
          for (const std::size_t needed : connection.stages) members.push_back(keys[needed]);
          input.set("stages", std::move(members));
          input.set("output", connection.output);
          break;
        }
      }
      inputs.set(port, std::move(input));
    }
    key.set("inputs", std::move(inputs));
    Value bindings = Value::map();
    for (const auto& [port, bound] : stage.bindings) {
      Value said = Value::map();
      for (const Binding& binding : bound) said.set(binding.input, binding.field);
      bindings.set(port, std::move(said));
    }
    key.set("bindings", std::move(bindings));
    key.set("fingerprint", fingerprint);
    if (stage.plan.random) {
      key.set("seed", static_cast<std::int64_t>(planned.pipeline.seed));
      key.set("stage", stage.id);
    }
    keys[i] = hash_text(to_json(key));
  }
  return keys;
}

}  // namespace microtome::host
