#include "host/pipeline/checker.h"

#include <algorithm>
#include <set>

#include "host/model/torchscript/module_file.h"
#include "host/pipeline/feeding.h"
#include "host/pipeline/memory.h"
#include "host/pipeline/plan_check.h"
#include "host/support/plain_reason.h"
#include "microtome/quoting.h"

namespace microtome::host {
namespace {

/// `name`, `name.detail`, `name[k=v,...]`, `name[k=v,...].detail`
struct Reference {
  std::string name;
  std::vector<std::pair<std::string, std::string>> element;
  bool has_element = false;
  std::string detail;
};

Reference parse_reference(const InputText& input) {
  Reference reference;
  const std::string& text = input.text;
  const std::size_t end = std::min(text.find_first_of(".["), text.size());
  reference.name = text.substr(0, end);
  std::size_t at = end;
  if (at < text.size() && text[at] == '[') {
    const std::size_t close = find_outside(text, "]", at + 1);
    if (close == text.size())
      throw Error(input.location, "\"" + text + "\" lacks a closing bracket");
    reference.has_element = true;
    std::string inside = text.substr(at + 1, close - at - 1);
    while (!inside.empty()) {
      const std::size_t comma = find_outside(inside, ",");
      const std::string part = inside.substr(0, comma);
      const auto equals = part.find('=');
      if (equals == std::string::npos)
        throw Error(input.location, "\"" + text + "\": expected key=value in brackets");
      reference.element.emplace_back(part.substr(0, equals), part.substr(equals + 1));
      inside = comma == inside.size() ? "" : inside.substr(comma + 1);
    }
    at = close + 1;
  }
  if (at < text.size()) {
    if (text[at] != '.' || at + 1 == text.size())
      throw Error(input.location,
                  "\"" + text + "\" is no input; write name, name.field or name[key=value]");
    reference.detail = text.substr(at + 1);
  }
  return reference;
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " or ") + word;
  return text;
}

/// What a stage's inputs are, for its plan.
class Inputs final : public PlanInputs {
 public:
  Inputs(const PlannedStage& stage, const PlannedPipeline& planned,
         std::map<std::string, std::vector<HookPoint>>& hooks, Problems& problems)
      : stage_(stage), planned_(planned), hooks_(hooks), problems_(problems) {}
  Problems& problems() const override { return problems_; }
  bool connected(const std::string& port) const override {
    return stage_.connections.contains(port);
  }
  const Model* model(const std::string& port) const override {
    return planned_.model(stage_, port);
  }
  const DatasetInfo* dataset(const std::string& port) const override {
    const auto found = stage_.connections.find(port);
    if (found == stage_.connections.end()) return nullptr;
    const auto data = planned_.resources.datasets.find(found->second.name);
    return data == planned_.resources.datasets.end() ? nullptr : &data->second->info();
  }
  const OutputPlan* artifact(const std::string& port) const override {
    const Connection* connection = find(port, Connection::Kind::artifact);
    if (connection == nullptr || connection->stages.empty()) return nullptr;
    for (const OutputPlan& output : planned_.stages[connection->stages[0]].plan.outputs) {
      if (output.port == connection->output) return &output;
    }
    return nullptr;
  }

 protected:
  void will_use(const std::string& port, const HookPoint& hook) const override {
    hooks_[port].push_back(hook);
  }

 private:
  const Connection* find(const std::string& port, Connection::Kind kind) const {
    const auto found = stage_.connections.find(port);
    return found == stage_.connections.end() || found->second.kind != kind ? nullptr
                                                                           : &found->second;
  }
  const PlannedStage& stage_;
  const PlannedPipeline& planned_;
  std::map<std::string, std::vector<HookPoint>>& hooks_;
  Problems& problems_;
};

class Checker {
 public:
  Checker(Pipeline pipeline, Catalog& catalog, at::Device device, Problems& problems)
      : catalog_(catalog), problems_(problems), binder_(planned_.pipeline, problems) {
    planned_.pipeline = std::move(pipeline);
    planned_.resources = open_resources(planned_.pipeline, catalog, device, problems);
  }

  PlannedPipeline check() {
    planned_.stages.resize(planned_.pipeline.stages.size());
    for (std::size_t i = 0; i < planned_.stages.size(); ++i) make(i);
    for (std::size_t i = 0; i < planned_.stages.size(); ++i) connect(i);
    sort();
    for (const std::size_t i : planned_.order) plan(i);
    return std::move(planned_);
  }

 private:
  const StageNode& node(std::size_t i) const { return planned_.pipeline.stages[i]; }

  const StageType* type_of(const std::string& uses, const Location& location) {
    try {
      return &catalog_.stage_type(uses);
    } catch (const PluginRefused& error) {
      planned_.plugin_refused = true;
      problems_.add(location, error.what());
    } catch (const Error& error) {
      problems_.add(location, error.what());
    }
    return nullptr;
  }

  ReadContext context_for(PlannedStage& stage) {
    return {problems_,
            [this, &stage](const std::string& uses, const Value& with,
                           const Location& location) -> std::shared_ptr<Stage> {
              const StageType* type = type_of(uses, location);
              if (type == nullptr) return nullptr;
              stage.nested_types.push_back(uses);
              ReadContext inner = context_for(stage);
              return make_stage(*type, with, inner);
            },
            [&stage](const DirectionReference& reference, const std::string& kind,
                     const Location& location) {
              stage.references.push_back({{reference.port(), reference.artifact(), location},
                                          {reference.port(), {kind}, {}, false, false}});
            }};
  }

  /// What a stage's constructor refuses is a mistake in its parameters.
  std::unique_ptr<Stage> make_stage(const StageType& type, const Value& with,
                                    ReadContext& context) {
    try {
      return type.make(with, context);
    } catch (const Error& error) {
      problems_.add(error.location().known() ? error.location() : with.location(), error.what());
    } catch (const std::exception& error) {
      problems_.add(with.location(), "the plugin can't make the stage: " + plain_reason(error));
    }
    return nullptr;
  }

  void make(std::size_t i) {
    PlannedStage& stage = planned_.stages[i];
    stage.id = node(i).id;
    if (node(i).uses.empty()) return;
    stage.type = type_of(node(i).uses, node(i).uses_location);
    if (stage.type == nullptr) return;
    stage.plugin = catalog_.plugin_of(node(i).uses)->name;
    ReadContext context = context_for(stage);
    stage.stage = make_stage(*stage.type, node(i).with, context);
    stage.parameters = canonical_parameters(stage.type->description(), node(i).with);
  }

  void connect(std::size_t i) {
    const StageType* type = planned_.stages[i].type;
    for (const InputText& input : node(i).inputs) {
      const PortDescription* port = nullptr;
      if (type != nullptr) {
        port = type->description().input(input.port);
        if (port == nullptr) {
          std::vector<std::string> names;
          for (const PortDescription& known : type->description().inputs)
            names.push_back(known.name);
          problems_.add(input.location, "\"" + node(i).uses + "\" has no input \"" + input.port +
                                            "\"" + suggestion(input.port, names));
          continue;
        }
      }
      try {
        connect(i, input, port);
      } catch (const Error& error) {
        problems_.add(input.location, error.what());
      }
    }
    for (const auto& [input, port] : planned_.stages[i].references) {
      try {
        connect(i, input, &port);
      } catch (const Error& error) {
        problems_.add(input.location, error.what());
      }
    }
    if (type == nullptr) return;
    for (const PortDescription& port : type->description().inputs) {
      const bool given =
          std::any_of(node(i).inputs.begin(), node(i).inputs.end(),
                      [&](const InputText& input) { return input.port == port.name; });
      if (!given && !port.optional) {
        problems_.add(node(i).location, "the stage \"" + node(i).name + "\" lacks the input \"" +
                                            port.name + "\" (" + joined(port.kinds) +
                                            "): " + port.doc);
      }
    }
  }

  void connect(std::size_t i, const InputText& input, const PortDescription* port) {
    const Reference reference = parse_reference(input);
    Connection connection;
    const auto declared = [&](const std::vector<Declaration>& all) {
      return std::any_of(all.begin(), all.end(), [&](const Declaration& declaration) {
        return declaration.name == reference.name;
      });
    };
    std::string kind;
    connection.name = reference.name;
    if (declared(planned_.pipeline.models)) {
      if (!reference.detail.empty())
        throw Error("the model \"" + reference.name + "\" has no parts; write \"" + reference.name +
                    "\"");
      connection.kind = Connection::Kind::model;
      kind = kind::model;
    } else if (declared(planned_.pipeline.datasets)) {
      connection.kind =
          reference.detail.empty() ? Connection::Kind::dataset : Connection::Kind::field;
      connection.field = reference.detail;
      kind = reference.detail.empty() ? kind::dataset : kind::field;
      check_field(connection);
    } else {
      find_stages(i, reference, connection, port);
      kind = artifact_kind(connection, reference);
    }
    if (port != nullptr && !kind.empty() &&
        std::find(port->kinds.begin(), port->kinds.end(), kind) == port->kinds.end()) {
      const std::string who = input.port.starts_with("@") ? std::string("this place")
                                                          : "the input \"" + input.port + "\"";
      throw Error(who + " takes " + joined(port->kinds) + ", but \"" + input.text + "\" is " +
                  kind);
    }
    if (input.in_list && port != nullptr && !port->many)
      throw Error("the input \"" + input.port + "\" takes one, not a list");
    const auto [known, is_new] = planned_.stages[i].connections.try_emplace(input.port, connection);
    if (is_new) return;
    if (input.in_list) {
      join(known->second, connection, input);
    } else {
      // Two parameters may refer to the same.
      known->second = std::move(connection);
    }
  }

  /// A list of stages at one input.
  static void join(Connection& all, const Connection& more, const InputText& input) {
    if (more.kind != Connection::Kind::artifact || all.kind != Connection::Kind::artifact)
      throw Error("the input \"" + input.port + "\" lists what stages wrote, nothing else");
    if (all.output != more.output) {
      throw Error("the stages at the input \"" + input.port +
                  "\" must be taken at outputs of one name, here \"" + all.output + "\" and \"" +
                  more.output + "\"");
    }
    for (const std::size_t stage : more.stages) {
      if (std::find(all.stages.begin(), all.stages.end(), stage) != all.stages.end())
        throw Error("\"" + input.text + "\" is named twice at the input \"" + input.port + "\"");
      all.stages.push_back(stage);
    }
  }

  void check_field(const Connection& connection) {
    const auto found = planned_.resources.datasets.find(connection.name);
    if (connection.field.empty() || found == planned_.resources.datasets.end()) return;
    const DatasetInfo& info = found->second->info();
    if (info.find(connection.field) != nullptr) return;
    std::vector<std::string> names;
    for (const FieldInfo& field : info.fields) names.push_back(field.name);
    throw Error("the dataset \"" + connection.name + "\" has no field \"" + connection.field +
                "\"" + suggestion(connection.field, names));
  }

  void find_stages(std::size_t i, const Reference& reference, Connection& connection,
                   const PortDescription* port) {
    connection.kind = Connection::Kind::artifact;
    std::vector<std::string> names, members;
    for (const Declaration& model : planned_.pipeline.models) names.push_back(model.name);
    for (const Declaration& dataset : planned_.pipeline.datasets) names.push_back(dataset.name);
    for (std::size_t k = 0; k < planned_.stages.size(); ++k) {
      names.push_back(node(k).name);
      if (node(k).name != reference.name) continue;
      members.push_back(node(k).id);
      const bool wanted =
          std::all_of(reference.element.begin(), reference.element.end(), [&](const auto& part) {
            return std::find(node(k).element.begin(), node(k).element.end(), part) !=
                   node(k).element.end();
          });
      if (wanted) connection.stages.push_back(k);
    }
    if (members.empty())
      throw Error("there is no model, dataset or stage \"" + reference.name + "\"" +
                  suggestion(reference.name, names));
    if (connection.stages.empty())
      throw Error("no element of \"" + reference.name + "\" matches" + suggestion("", members));
    if (connection.stages.size() > 1 && (port == nullptr || !port->many)) {
      throw Error(
          "\"" + reference.name + "\" is a matrix of " + std::to_string(connection.stages.size()) +
          " stages, and this input takes one; choose it, such as " + members[0] +
          (node(i).element.empty() ? "" : ", or write " + reference.name + "[key=${matrix.key}]"));
    }
    if (std::find(connection.stages.begin(), connection.stages.end(), i) !=
        connection.stages.end()) {
      throw Error("the stage \"" + node(i).name + "\" is its own input");
    }
  }

  std::string artifact_kind(Connection& connection, const Reference& reference) {
    const StageType* type = planned_.stages[connection.stages[0]].type;
    if (type == nullptr) return "";
    std::vector<std::string> names;
    for (const PortDescription& output : type->description().outputs) {
      names.push_back(output.name);
      if (output.name == reference.detail ||
          (reference.detail.empty() && type->description().outputs.size() == 1)) {
        connection.output = output.name;
        return output.kinds.at(0);
      }
    }
    throw Error(reference.detail.empty()
                    ? "the stage \"" + reference.name +
                          "\" has several outputs; choose one of them" + suggestion("", names)
                    : "the stage \"" + reference.name + "\" has no output \"" + reference.detail +
                          "\"" + suggestion(reference.detail, names));
  }

  void sort() {
    const std::size_t count = planned_.stages.size();
    std::vector<int> state(count, 0);
    std::vector<std::size_t> path;
    // Depth first; a stage that is met on its own path closes a circle.
    const auto visit = [&](auto&& self, std::size_t i) -> bool {
      if (state[i] == 2) return true;
      if (state[i] == 1) {
        std::string circle;
        for (auto at = std::find(path.begin(), path.end(), i); at != path.end(); ++at)
          circle += node(*at).id + " -> ";
        problems_.add(node(i).location,
                      "the stages need each other in a circle: " + circle + node(i).id);
        return false;
      }
      state[i] = 1;
      path.push_back(i);
      bool fine = true;
      for (const auto& [port, connection] : planned_.stages[i].connections) {
        for (const std::size_t needed : connection.stages) fine = self(self, needed) && fine;
      }
      path.pop_back();
      state[i] = 2;
      if (fine) planned_.order.push_back(i);
      return fine;
    };
    for (std::size_t i = 0; i < count; ++i) visit(visit, i);
  }

  /// Of the dataset that the host streams through the stage, or of the largest one that it reads; 0
  /// without any.
  std::int64_t samples_of(const PlannedStage& stage) const {
    std::int64_t largest = 0;
    for (const auto& [port, connection] : stage.connections) {
      if (connection.kind != Connection::Kind::dataset) continue;
      const auto dataset = planned_.resources.datasets.find(connection.name);
      if (dataset == planned_.resources.datasets.end()) continue;
      const std::int64_t size = dataset->second->info().size;
      if (stage.plan.read && stage.plan.read->data == port) return size;
      largest = std::max(largest, size);
    }
    return largest;
  }

  void plan(std::size_t i) {
    PlannedStage& stage = planned_.stages[i];
    if (!stage.stage) return;
    const std::size_t before = problems_.size();
    bind(i);
    const bool fits = problems_.size() == before;
    for (const auto& [port, connection] : stage.connections) {
      for (const std::size_t needed : connection.stages) {
        if (!planned_.stages[needed].stage) return;
      }
    }
    Problems found;
    try {
      Plan plan;
      stage.stage->plan(Inputs(stage, planned_, stage.hooks, found), plan);
      if (found.list().empty()) {
        try {
          check_plan(stage.type->description(), plan,
                     [&](const std::string& port) { return stage.connections.contains(port); });
        } catch (const Error& error) {
          throw Error("the plugin \"" + stage.plugin + "\" is wrong: " + error.what());
        }
      }
      stage.plan = std::move(plan);
      if (stage.plan.read) {
        for (const HookPoint& hook : stage.plan.read->capture)
          stage.hooks[stage.plan.read->model].push_back(hook);
      }
      stage.chunk = planned_.pipeline.runtime.chunk_of(samples_of(stage));
      plan_models(i);
      for (const OutputPlan& output : stage.plan.outputs) {
        if (output.module == nullptr) continue;
        stage.models[output.port] =
            std::make_shared<ProgramModel>(stage.id, torchscript::lower(*output.module),
                                           output.module->input, at::Device(at::kCPU));
      }
    } catch (const Error& error) {
      problems_.add(error.location().known() ? error.location() : node(i).location, error.what());
    } catch (const std::exception& error) {
      // On a model that can't run it says nothing more.
      if (fits) problems_.add(node(i).location, "the plugin's plan failed: " + plain_reason(error));
    }
    // What a plugin gives no place is the stage's.
    for (const Problem& problem : found.list())
      problems_.add(problem.location.known() ? problem.location : node(i).location,
                    problem.message);
  }

  /// Declared models by the plan that the stage's hook points allow, and a chunk that they have
  /// memory for.
  void plan_models(std::size_t i) {
    PlannedStage& stage = planned_.stages[i];
    for (const auto& [port, connection] : stage.connections) {
      if (connection.kind != Connection::Kind::model) continue;
      const auto open = planned_.resources.models.find(connection.name);
      if (open == planned_.resources.models.end()) continue;
      stage.running[port] =
          stage.run_by_plan(*planned_.model(stage, port), port, planned_.pipeline.runtime);
      check_precision(i, *stage.running[port]);
    }
    const RuntimeSettings& runtime = planned_.pipeline.runtime;
    for (const auto& [port, model] : stage.running) {
      const std::string reason = model->one_at_a_time();
      if (reason.empty()) continue;
      // Whether a sample's value alone is what is meant, only the author of the pipeline knows.
      if (!std::holds_alternative<std::int64_t>(runtime.chunk) ? model->mixes_samples()
                                                               : stage.chunk > 1)
        problems_.add(node(i).location, "the model \"" + model->name() + "\" " + reason);
      stage.chunk = 1;
    }
    if (std::holds_alternative<std::int64_t>(runtime.chunk)) return;
    for (const auto& [port, model] : stage.running)
      stage.chunk = chunk_within(stage, port, *model, runtime);
  }

  /// LibTorch lacks operators in half precision here and there, by version and device: a run on a
  /// few samples finds that.
  void check_precision(std::size_t i, const ProgramModel& model) {
    const at::ScalarType precision = model.plan_report().precision;
    if (precision == at::kFloat) return;
    const std::string failure = model.failure();
    if (failure.empty()) return;
    const std::string name = precision == at::kHalf ? "float16" : "bfloat16";
    problems_.add(node(i).location, "runtime: {precision: " + name + "}: the model \"" +
                                        model.name() + "\" can't be computed in " + name +
                                        " here: " + failure + "; take " +
                                        (precision == at::kHalf ? "bfloat16 or " : "") + "float32");
  }

  /// Decides which field feeds which input of each model.
  void bind(std::size_t i) {
    PlannedStage& stage = planned_.stages[i];
    const HostDataset* data = nullptr;
    Location place = node(i).location;
    for (const auto& [port, connection] : stage.connections) {
      if (connection.kind != Connection::Kind::dataset) continue;
      const auto found = planned_.resources.datasets.find(connection.name);
      if (found != planned_.resources.datasets.end() && (data == nullptr || port == "data"))
        data = found->second.get();
    }
    if (data == nullptr) return;
    stage.bound_dataset = data->info().name;
    std::vector<std::string> inputs;
    for (const auto& [port, connection] : stage.connections) {
      const ProgramModel* model = planned_.model(connection);
      if (model == nullptr) continue;
      for (const PortInfo& input : model->inputs()) inputs.push_back(input.name);
      const std::size_t before = problems_.size();
      stage.bindings[port] = binder_.bind(*model, data->info(), node(i).bind, place);
      if (problems_.size() == before) feed(i, port, *data);
      if (problems_.size() == before) declare_images(i, port, data->info());
    }
    if (node(i).bind.is_null() || inputs.empty()) return;
    for (const auto& entry : node(i).bind.as_map()) {
      if (std::find(inputs.begin(), inputs.end(), entry.key) == inputs.end())
        problems_.add(entry.key_location, "the model has no input \"" + entry.key + "\"" +
                                              suggestion(entry.key, inputs));
    }
  }

  /// The dataset knows of images where the network's operators do not tell.
  void declare_images(std::size_t i, const std::string& port, const DatasetInfo& data) {
    const PlannedStage& stage = planned_.stages[i];
    for (const Binding& binding : stage.bindings.at(port)) {
      const FieldInfo* field = data.find(binding.field);
      if (field != nullptr && field->image)
        planned_.model(stage, port)->declare_images(binding.input);
    }
  }

  /// Whether the samples that a model was tried on are like those that it gets.
  static bool says_what_it_takes(const OpenModel& open, const std::vector<Binding>& bindings) {
    if (open.made_samples_failed || open.model->example_inputs(1).empty()) return false;
    return std::all_of(bindings.begin(), bindings.end(), [&](const Binding& binding) {
      const auto& inputs = open.model->inputs();
      return std::any_of(inputs.begin(), inputs.end(), [&](const PortInfo& input) {
        return input.name == binding.input && input.type == binding.to;
      });
    });
  }

  /// A declared model that does not say what it takes learns it from the dataset.
  void feed(std::size_t i, const std::string& port, const HostDataset& data) {
    PlannedStage& stage = planned_.stages[i];
    const Connection& connection = stage.connections.at(port);
    if (connection.kind != Connection::Kind::model) return;
    OpenModel& open = planned_.resources.models.at(connection.name);
    if (says_what_it_takes(open, stage.bindings.at(port))) return;
    try {
      auto fed = feeding_.feed(*open.model, data, stage.bindings.at(port));
      if (fed == nullptr) return;
      if (std::find(open.fed.begin(), open.fed.end(), fed) == open.fed.end())
        open.fed.push_back(fed);
      stage.fed[port] = std::move(fed);
    } catch (const Error& error) {
      if (reported_.insert(error.full()).second) problems_.add(node(i).location, error.full());
    }
  }

  PlannedPipeline planned_;
  Catalog& catalog_;
  Problems& problems_;
  Binder binder_;
  Feeding feeding_;
  std::set<std::string> reported_;
};

}  // namespace

std::shared_ptr<const ProgramModel> PlannedStage::run_by_plan(
    const ProgramModel& model, const std::string& port, const RuntimeSettings& runtime) const {
  const auto named = hooks.find(port);
  std::vector<HookPoint> used;
  if (named != hooks.end()) {
    for (const HookPoint& hook : named->second) {
      if (!hook.dictionary) used.push_back(hook);
    }
  }
  return model.planned(used, runtime.plan(plan));
}

const ProgramModel* PlannedPipeline::model(const PlannedStage& stage,
                                           const std::string& port) const {
  if (const auto fed = stage.fed.find(port); fed != stage.fed.end()) return fed->second.get();
  const auto found = stage.connections.find(port);
  return found == stage.connections.end() ? nullptr : model(found->second);
}

const ProgramModel* PlannedPipeline::model(const Connection& connection) const {
  if (connection.kind == Connection::Kind::model) {
    const auto found = resources.models.find(connection.name);
    return found == resources.models.end() ? nullptr : found->second.model.get();
  }
  if (connection.kind != Connection::Kind::artifact || connection.stages.size() != 1)
    return nullptr;
  const auto& made = stages[connection.stages[0]].models;
  const auto found = made.find(connection.output);
  return found == made.end() ? nullptr : found->second.get();
}

PlannedPipeline check_pipeline(Pipeline pipeline, Catalog& catalog, at::Device device,
                               Problems& problems) {
  Problems found;
  PlannedPipeline planned = Checker(std::move(pipeline), catalog, device, found).check();
  // What could not be read is not reported again as wrong.
  const std::vector<Problem> before = problems.list();
  for (const Problem& problem : found.list()) {
    const bool known = problem.location.known() &&
                       std::any_of(before.begin(), before.end(), [&](const Problem& earlier) {
                         return earlier.location.line == problem.location.line &&
                                earlier.location.column == problem.location.column;
                       });
    if (!known) problems.add(problem.location, problem.message);
  }
  return planned;
}

}  // namespace microtome::host
