#include "host/run/shared_passes.h"

#include <map>
#include <set>

namespace microtome::host {
namespace {

/// What must be equal for two stages to read in one pass.
Value reading_of(const PlannedStage& stage) {
  const Read& read = *stage.plan.read;
  Value reading = Value::map();
  reading.set("data", stage.connections.at(read.data).name);
  reading.set("chunk", stage.chunk);
  Value needs = Value::list();
  std::set<std::size_t> stages;
  for (const auto& [port, connection] : stage.connections)
    stages.insert(connection.stages.begin(), connection.stages.end());
  for (const std::size_t need : stages) needs.push_back(static_cast<std::int64_t>(need));
  reading.set("needs", std::move(needs));
  if (read.model.empty()) return reading;
  const Connection& model = stage.connections.at(read.model);
  reading.set("model", model.name);
  reading.set("output", model.output);
  Value bindings = Value::map();
  for (const Binding& binding : stage.bindings.at(read.model))
    bindings.set(binding.input, binding.field);
  reading.set("bindings", std::move(bindings));
  return reading;
}

}  // namespace

std::vector<std::size_t> pass_groups(const PlannedPipeline& planned) {
  std::vector<std::size_t> groups(planned.stages.size());
  // A model by another plan is another model; one that a stage makes is planned when it is there.
  std::map<std::pair<std::string, const ProgramModel*>, std::size_t> known;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    groups[i] = i;
    const PlannedStage& stage = planned.stages[i];
    if (!stage.plan.read) continue;
    const auto model = stage.running.find(stage.plan.read->model);
    const auto key = std::pair(to_json(reading_of(stage)),
                               model == stage.running.end() ? nullptr : model->second.get());
    groups[i] = known.emplace(key, i).first->second;
  }
  return groups;
}

}  // namespace microtome::host
