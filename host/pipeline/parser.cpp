#include <algorithm>
#include <cctype>

#include "host/pipeline/matrix.h"
#include "host/pipeline/pipeline.h"
#include "host/pipeline/substitution.h"
#include "host/pipeline/yaml_reader.h"
#include "host/support/file_name.h"

namespace microtome::host {
namespace {

const std::vector<std::string> top_keys = {"microtome", "name",   "description", "seed",
                                           "vars",      "models", "datasets",    "stages",
                                           "report",    "runtime"};
const std::vector<std::string> stage_keys = {"uses",   "inputs", "with",
                                             "matrix", "bind",   "description"};

bool is_name(const std::string& text) {
  return !text.empty() && text.size() <= 100 &&
         (std::isalpha(static_cast<unsigned char>(text[0])) != 0 || text[0] == '_') &&
         std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return std::isalnum(c) != 0 || c == '_' || c == '-'; });
}

class Parser {
 public:
  Parser(Value document, Problems& problems)
      : document_(std::move(document)), problems_(problems) {}

  Pipeline parse() {
    Pipeline pipeline;
    if (!document_.is_map()) {
      add(document_.location(), "a pipeline is a map that starts with `microtome: 1`");
      return pipeline;
    }
    check_keys(document_, top_keys, "a pipeline");
    version();
    pipeline.name = text_of("name", "", is_name,
                            "a name is letters, digits, - and _, and starts with a letter");
    if (pipeline.name.empty() && document_.find("name") == nullptr)
      add(document_.location(), "\"name\" is missing");
    seed(pipeline);
    runtime(pipeline);
    if (const Value* report = map_of("report")) {
      check_keys(*report, {"title", "question"}, "report");
      if (const Value* title = report->find("title")) {
        if (title->is_string())
          pipeline.title = title->as_string();
        else
          add(title->location(), "expected text, found " + describe_type(title->type()));
      }
    }
    declarations("models", pipeline.models);
    declarations("datasets", pipeline.datasets);
    stages(pipeline);
    check_names_once(pipeline);
    pipeline.resolved = document_;
    return pipeline;
  }

 private:
  void add(const Location& location, std::string message) {
    problems_.add(location, std::move(message));
  }

  void check_keys(const Value& map, const std::vector<std::string>& known,
                  const std::string& what) {
    for (const auto& entry : map.as_map()) {
      if (std::find(known.begin(), known.end(), entry.key) == known.end()) {
        add(entry.key_location,
            "unknown key \"" + entry.key + "\" in " + what + suggestion(entry.key, known));
      }
    }
  }

  const Value* map_of(const std::string& key) {
    const Value* value = document_.find(key);
    if (value == nullptr || value->is_null()) return nullptr;
    if (value->is_map()) return value;
    add(value->location(), "\"" + key + "\" must be a map, found " + describe_type(value->type()));
    return nullptr;
  }

  void version() {
    const Value* version = document_.find("microtome");
    if (version == nullptr) {
      add(document_.location(),
          "\"microtome: 1\" is missing: it says which version of the format this is");
    } else if (version->type() != Value::Type::integer || version->as_integer() != 1) {
      add(version->location(), "this host reads version 1 of the format");
    }
  }

  template <class Check>
  std::string text_of(const std::string& key, const std::string& otherwise, Check check,
                      const std::string& rule) {
    const Value* value = document_.find(key);
    if (value == nullptr) return otherwise;
    if (!value->is_string()) {
      add(value->location(), "\"" + key + "\" must be text, found " + describe_type(value->type()));
    } else if (!check(value->as_string())) {
      add(value->location(), "\"" + value->as_string() + "\": " + rule);
    } else {
      return value->as_string();
    }
    return otherwise;
  }

  void seed(Pipeline& pipeline) {
    const Value* seed = document_.find("seed");
    if (seed == nullptr) return;
    if (seed->type() != Value::Type::integer || seed->as_integer() < 0) {
      add(seed->location(), "\"seed\" must be a whole number from 0");
    } else {
      pipeline.seed = static_cast<std::uint64_t>(seed->as_integer());
    }
  }

  void runtime(Pipeline& pipeline) {
    const Value* runtime = map_of("runtime");
    if (runtime == nullptr) return;
    StageSpec<RuntimeSettings> spec;
    RuntimeSettings::describe(spec);
    ReadContext context{problems_};
    pipeline.runtime = spec.read(*runtime, context);
    pipeline.runtime_said = RuntimeSettings::canonical(*runtime);
  }

  void declarations(const std::string& key, std::vector<Declaration>& to) {
    const Value* all = map_of(key);
    if (all == nullptr) return;
    for (const auto& entry : all->as_map()) {
      check_name(entry);
      if (!entry.value.is_map()) {
        add(entry.value.location(),
            "\"" + entry.key + "\" must be a map, found " + describe_type(entry.value.type()));
        continue;
      }
      to.push_back({entry.key, entry.value, entry.key_location});
    }
  }

  void check_name(const Value::Entry& entry) {
    if (!is_name(entry.key)) {
      add(entry.key_location,
          "\"" + entry.key +
              "\" can't be a name: letters, digits, - and _, starting with a letter");
    }
  }

  void stages(Pipeline& pipeline) {
    const Value* all = map_of("stages");
    if (all == nullptr || all->as_map().empty()) {
      if (document_.find("stages") == nullptr || all != nullptr)
        add(document_.location(), "\"stages\" is missing: there is nothing to run");
      return;
    }
    for (const auto& entry : all->as_map()) {
      check_name(entry);
      if (!entry.value.is_map()) {
        add(entry.value.location(), "the stage \"" + entry.key + "\" must be a map, found " +
                                        describe_type(entry.value.type()));
        continue;
      }
      stage(entry, pipeline);
    }
  }

  void stage(const Value::Entry& entry, Pipeline& pipeline) {
    const Value& content = entry.value;
    check_keys(content, stage_keys, "the stage \"" + entry.key + "\"");
    StageNode base;
    base.name = base.id = entry.key;
    base.location = entry.key_location;
    base.with = Value::map();
    base.with.located(content.location());
    if (const Value* uses = content.find("uses"); uses == nullptr) {
      add(entry.key_location,
          "the stage \"" + entry.key + "\" lacks \"uses\": which stage type it is");
    } else if (!uses->is_string()) {
      add(uses->location(), "\"uses\" must be the name of a stage type");
    } else {
      base.uses = uses->as_string();
      base.uses_location = uses->location();
    }
    Value inputs = Value::map();
    for (const char* key : {"with", "inputs", "bind"}) {
      const Value* part = content.find(key);
      if (part == nullptr || part->is_null()) continue;
      if (!part->is_map()) {
        add(part->location(),
            std::string("\"") + key + "\" must be a map, found " + describe_type(part->type()));
        continue;
      }
      (std::string(key) == "with"     ? base.with
       : std::string(key) == "inputs" ? inputs
                                      : base.bind) = *part;
    }
    const Value* matrix = content.find("matrix");
    if (matrix != nullptr && !matrix->is_map()) {
      add(matrix->location(), "\"matrix\" must be a map of lists");
      matrix = nullptr;
    }
    if (matrix == nullptr) {
      fill(base, substitute_matrix(base.with, Value::map(), problems_),
           substitute_matrix(inputs, Value::map(), problems_));
      pipeline.stages.push_back(std::move(base));
      return;
    }
    for (const Value& element : expand_matrix(*matrix, problems_)) {
      StageNode node = base;
      Value with = substitute_matrix(base.with, element, problems_);
      Value wired = substitute_matrix(inputs, element, problems_);
      std::string id;
      for (const auto& part : element.as_map()) {
        const std::string text =
            part.value.is_string() ? part.value.as_string() : to_json(part.value);
        id += (id.empty() ? "" : ",") + part.key + "=" + text;
        node.element.emplace_back(part.key, text);
        // A key is the name of an input, if there is one, else a parameter; the checker says when
        // it is none.
        if (wired.find(part.key) != nullptr || names_data(part.value, pipeline)) {
          wired.set(part.key, part.value);
        } else {
          with.set(part.key, part.value);
        }
        for (auto& placed : with.as_map()) {
          if (placed.key == part.key && !placed.key_location.known())
            placed.key_location = key_place(*matrix, part.key);
        }
      }
      node.id += "[" + id + "]";
      fill(node, with, wired);
      pipeline.stages.push_back(std::move(node));
    }
  }

  static Location key_place(const Value& matrix, const std::string& key) {
    for (const auto& entry : matrix.as_map()) {
      if (entry.key == key) return entry.key_location;
    }
    return matrix.location();
  }

  static bool names_data(const Value& value, const Pipeline& pipeline) {
    if (!value.is_string()) return false;
    const auto named = [&](const Declaration& declaration) {
      return declaration.name == value.as_string();
    };
    return std::any_of(pipeline.models.begin(), pipeline.models.end(), named) ||
           std::any_of(pipeline.datasets.begin(), pipeline.datasets.end(), named);
  }

  void fill(StageNode& node, Value with, const Value& inputs) {
    node.with = std::move(with);
    for (const auto& entry : inputs.as_map()) {
      const Value::List named =
          entry.value.is_list() ? entry.value.as_list() : Value::List{entry.value};
      for (const Value& value : named) {
        if (value.is_string()) {
          node.inputs.push_back(
              {entry.key, value.as_string(), value.location(), entry.value.is_list()});
          continue;
        }
        add(value.location(), "the input \"" + entry.key +
                                  "\" must name a model, a dataset or a stage, or list stages, "
                                  "found " +
                                  describe_type(value.type()));
      }
    }
  }

  void check_names_once(const Pipeline& pipeline) {
    std::map<std::string, std::string> seen;
    const auto check = [&](const std::string& name, const std::string& what,
                           const Location& location) {
      const auto [found, added] = seen.emplace(name, what);
      if (!added && found->second != what) {
        add(location,
            "\"" + name + "\" is a " + found->second + " and a " + what + "; names must differ");
      }
    };
    for (const auto& model : pipeline.models) check(model.name, "model", model.location);
    for (const auto& dataset : pipeline.datasets) check(dataset.name, "dataset", dataset.location);
    for (const auto& stage : pipeline.stages) check(stage.name, "stage", stage.location);
  }

  Value document_;
  Problems& problems_;
};

}  // namespace

std::filesystem::path StageNode::folder() const {
  if (element.empty()) return name;
  std::string text;
  for (const auto& [key, value] : element)
    text += (text.empty() ? "" : ",") + key + "=" + safe_file_name(value);
  // Without loss where nothing had to be cut.
  text = safe_file_name(text, "=,%");
  return std::filesystem::path(name) / text;
}

namespace {

/// From the document, which `read` gives, to the pipeline.
template <class Read>
Pipeline pipeline_of(Read read, const std::filesystem::path& file,
                     const std::vector<std::string>& overrides, Problems& problems) {
  Pipeline pipeline;
  try {
    Value document = read();
    for (const std::string& assignment : overrides) apply_override(document, assignment, problems);
    substitute_variables(document, problems);
    pipeline = Parser(std::move(document), problems).parse();
  } catch (const Error& error) {
    const Location unknown{0, 0, file.string()};
    problems.add(error.location().known() ? error.location() : unknown, error.what());
  }
  pipeline.file = file;
  return pipeline;
}

}  // namespace

Pipeline read_pipeline_text(std::string_view text, const std::filesystem::path& file,
                            const std::vector<std::string>& overrides, Problems& problems) {
  return pipeline_of([&] { return read_yaml(text, file.string()); }, file, overrides, problems);
}

Pipeline read_pipeline(const std::filesystem::path& file, const std::vector<std::string>& overrides,
                       Problems& problems) {
  return pipeline_of([&] { return read_yaml_file(file); }, file, overrides, problems);
}

Value pipeline_schema_frame() {
  const auto typed = [](const char* type) {
    Value schema;
    schema.set("type", type);
    return schema;
  };
  Value properties;
  for (const std::string& key : top_keys) {
    properties.set(key, typed(key == "name" || key == "description" ? "string"
                              : key == "seed" || key == "microtome" ? "integer"
                                                                    : "object"));
  }
  properties.find("microtome")->set("const", 1);
  Value required = Value::list();
  for (const char* key : {"microtome", "name", "stages"}) required.push_back(key);
  Value schema = typed("object");
  schema.set("$schema", "https://json-schema.org/draft/2020-12/schema");
  schema.set("title", "Microtome pipeline");
  schema.set("required", std::move(required));
  schema.set("additionalProperties", false);
  schema.set("properties", std::move(properties));
  return schema;
}

}  // namespace microtome::host
