#include "host/pipeline/plan_check.h"

#include <algorithm>
#include <set>

namespace microtome::host {
namespace {

void check_output(const StageDescription& type, const OutputPlan& output) {
  std::vector<std::string> names;
  for (const PortDescription& port : type.outputs) {
    names.push_back(port.name);
    if (port.name != output.port) continue;
    if (port.kinds.at(0) == output.kind) return;
    throw Error("the stage plans the output \"" + output.port + "\" as " + output.kind +
                ", and its type declares it as " + port.kinds.at(0));
  }
  throw Error("the stage plans the output \"" + output.port +
              "\", which its type does not declare" + suggestion(output.port, names));
}

void check_read(const StageDescription& type, const std::string& port, const char* kind,
                const std::function<bool(const std::string&)>& connected) {
  const PortDescription* input = type.input(port);
  if (input == nullptr ||
      std::find(input->kinds.begin(), input->kinds.end(), kind) == input->kinds.end())
    throw Error("the stage plans to read \"" + port +
                "\", which its type does not declare as an "
                "input of a " +
                kind);
  if (!connected(port))
    throw Error("the stage plans to read the input \"" + port + "\", which is not connected");
}

}  // namespace

void check_plan(const StageDescription& type, const Plan& plan,
                const std::function<bool(const std::string&)>& connected) {
  std::set<std::string> ports;
  for (const OutputPlan& output : plan.outputs) {
    check_output(type, output);
    if (!ports.insert(output.port).second)
      throw Error("the stage plans the output \"" + output.port + "\" twice");
  }
  if (!plan.read) return;
  check_read(type, plan.read->data, kind::dataset, connected);
  if (!plan.read->model.empty()) check_read(type, plan.read->model, kind::model, connected);
}

}  // namespace microtome::host
