#include "host/pipeline/resources.h"

#include <algorithm>
#include <functional>
#include <set>

#include "host/data/derived.h"
#include "host/data/image_folder.h"
#include "host/data/source_dataset.h"
#include "host/data/tensor_files.h"
#include "host/model/random_weights.h"
#include "host/model/smooth_rectifiers.h"
#include "host/model/torchscript/loader.h"
#include "host/pipeline/model_inputs.h"
#include "host/pipeline/schema.h"
#include "host/support/plain_reason.h"
#include "microtome/kinds/dataset_source.h"

namespace microtome::host {
namespace {

/// A model's declaration, without `source`.
struct ModelParams {
  std::string path;
  Value input = Value::map(), inputs = Value::map();
  Value axes = Value::map();

  static void describe(StageSpec<ModelParams>& spec) {
    spec.summary("A TorchScript file, scripted or traced.");
    spec.parameter("path", &ModelParams::path).required().doc("the file");
    spec.parameter("input", &ModelParams::input)
        .doc(
            "of a model with one input: size of a sample without N, type, and mean and std by "
            "channel, which make the model take pixels in 0..1");
    spec.parameter("inputs", &ModelParams::inputs).doc("the same for several inputs, by name");
    spec.parameter("axes", &ModelParams::axes)
        .doc(
            "what the dimensions of a value after N are, where its operators do not tell: {hook "
            "point: [token, c]}, of c, z, y, x, token, head, query, key, window");
  }
};

/// A declared model with other weights, or with smooth rectifiers.
struct DerivedModelParams {
  enum class Weights { random, same };
  std::string from;
  Weights weights = Weights::random;
  std::int64_t seed = 0;
  std::optional<double> softplus;

  static void describe(StageSpec<DerivedModelParams>& spec) {
    spec.summary("Another declared model with weights as before training, or made smooth.");
    spec.parameter("from", &DerivedModelParams::from).required().doc("the model");
    spec.parameter("weights", &DerivedModelParams::weights)
        .choices({"random", "same"})
        .doc(
            "random: normal with variance 2 / fan-in (He 2015), biases 0, norms the identity; the "
            "baseline of what the architecture alone does. same: those of the model");
    spec.parameter("seed", &DerivedModelParams::seed).range(0, 9e15).doc("seed of the weights");
    spec.parameter("softplus", &DerivedModelParams::softplus)
        .range(1e-3, 1e4)
        .doc(
            "each ReLU becomes log(1 + exp(b x)) / b with this b, and each clipped one a "
            "difference of two, so that the network has second derivatives (Janizek et al. 2020)");
  }
};

/// `where`, `split` or `draw` of another dataset.
struct DerivedParams {
  std::string from;
  std::optional<Value> where, split;
  std::optional<std::int64_t> draw;
  std::int64_t times = 1;
  std::int64_t seed = 0;

  static void describe(StageSpec<DerivedParams>& spec) {
    spec.summary("Samples of another dataset.");
    spec.parameter("from", &DerivedParams::from).required().doc("the dataset");
    spec.parameter("where", &DerivedParams::where)
        .doc("field: value, or field: [values]; labels by number or name");
    spec.parameter("split", &DerivedParams::split)
        .doc("one part of a random split: {train: 0.8, by: label, seed: 1}, or test: 0.2");
    spec.parameter("draw", &DerivedParams::draw).range(1, 1e9).doc("so many samples at random");
    spec.parameter("times", &DerivedParams::times).range(1, 1e6).doc("so many random sets");
    spec.parameter("seed", &DerivedParams::seed).range(0, 9e15).doc("seed of draw");
  }
};

struct ZipParams {
  Value zip = Value::map();
  static void describe(StageSpec<ZipParams>& spec) {
    spec.summary("Datasets side by side, paired by id.");
    spec.parameter("zip", &ZipParams::zip).required().doc("part: dataset");
  }
};

template <class Params>
StageSpec<Params> spec_of() {
  StageSpec<Params> spec;
  Params::describe(spec);
  return spec;
}

Value without_source(const Value& content) {
  Value rest = Value::map();
  rest.located(content.location());
  for (const auto& entry : content.as_map()) {
    if (entry.key != "source") rest.as_map().push_back(entry);
  }
  return rest;
}

class Opener {
 public:
  Opener(const Pipeline& pipeline, Catalog& catalog, at::Device device, Problems& problems)
      : pipeline_(pipeline),
        catalog_(catalog),
        device_(device),
        problems_(problems),
        base_(std::filesystem::absolute(pipeline.file).parent_path()) {}

  Resources open() {
    // Those that are made from others come after them, wherever they stand.
    for (const Declaration& model : pipeline_.models) {
      if (!is_derived(model)) guard(model, [&] { open_model(model); });
    }
    for (const Declaration& model : pipeline_.models) {
      if (is_derived(model)) guard(model, [&] { derive_model(model); });
    }
    for (const Declaration& dataset : pipeline_.datasets) open_dataset(dataset);
    return std::move(resources_);
  }

 private:
  template <class Action>
  void guard(const Declaration& declaration, Action action) {
    try {
      action();
    } catch (const Error& error) {
      const Value* path = declaration.content.find("path");
      const Location& otherwise = path != nullptr ? path->location() : declaration.location;
      problems_.add(error.location().known() ? error.location() : otherwise, error.full());
    } catch (const std::exception& error) {
      problems_.add(declaration.location, plain_reason(error));
    }
  }

  /// Reads a declaration's map; nothing when it has mistakes.
  template <class Params>
  std::optional<Params> read(const Value& content) {
    const std::size_t before = problems_.size();
    ReadContext context{problems_, {}};
    Params params = spec_of<Params>().read(without_source(content), context);
    if (problems_.size() > before) return std::nullopt;
    return params;
  }

  std::string source(const Declaration& declaration, const std::vector<std::string>& known) {
    const Value* source = declaration.content.find("source");
    if (source == nullptr)
      throw Error(declaration.location,
                  "\"" + declaration.name + "\" lacks \"source\"" + suggestion("", known));
    const std::string& name = source->as_string();
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      throw Error(source->location(),
                  "there is no source \"" + name + "\"" + suggestion(name, known));
    }
    return name;
  }

  static bool is_derived(const Declaration& declaration) {
    return declaration.content.find("from") != nullptr;
  }

  void derive_model(const Declaration& declaration) {
    if (const Value* named = declaration.content.find("source"))
      throw Error(named->location(), "a model has a source or is made from another, not both");
    const auto params = read<DerivedModelParams>(declaration.content);
    if (!params) return;
    const Location& place = declaration.content.at("from").location();
    std::vector<std::string> names;
    const Declaration* from = nullptr;
    for (const Declaration& other : pipeline_.models) {
      if (is_derived(other)) continue;
      names.push_back(other.name);
      if (other.name == params->from) from = &other;
    }
    if (from == nullptr)
      throw Error(place, "there is no model \"" + params->from + "\" that has a source" +
                             suggestion(params->from, names));
    const auto original = resources_.models.find(params->from);
    if (original == resources_.models.end()) return;  // what is wrong with it is said there
    const OpenModel& opened = original->second;
    Program program = torchscript::load(opened.file);
    Value canonical = opened.canonical;
    if (params->weights == DerivedModelParams::Weights::random) {
      randomise_weights(program, static_cast<std::uint64_t>(params->seed));
      canonical.set("weights", "random");
      canonical.set("seed", params->seed);
    } else if (!params->softplus) {
      throw Error(
          place, "with weights: same and without softplus this is \"" + params->from + "\" itself");
    }
    if (params->softplus) {
      smooth_rectifiers(program, *params->softplus);
      canonical.set("softplus", *params->softplus);
    }
    auto model = make_model(declaration, std::move(program), opened.model->declared());
    if (const Value* axes = opened.canonical.find("axes")) {
      declare_axes(*model, *axes);
      canonical.set("axes", *axes);
    }
    resources_.models[declaration.name] = {
        std::move(model), opened.file, std::move(canonical), opened.made_samples_failed, {}};
  }

  void open_model(const Declaration& declaration) {
    source(declaration, {"torchscript"});
    const auto params = read<ModelParams>(declaration.content);
    if (!params) return;
    const auto file = (base_ / params->path).lexically_normal();
    Program program = torchscript::load(file);
    const DeclaredInputs declared = read_inputs(params->input, params->inputs, program);
    OpenModel open{
        make_model(declaration, std::move(program), declared), file, Value::map(), {}, {}};
    if (const auto why = try_model(*open.model)) {
      // Made samples say little about ids, lengths and masks; real ones will be tried.
      const auto& inputs = open.model->inputs();
      const bool needs_real = std::any_of(inputs.begin(), inputs.end(), [](const PortInfo& port) {
        return c10::isIntegralType(port.type, true);
      });
      const std::string problem = "the model can't run on samples as they are declared, " +
                                  describe_inputs(*open.model) + ": ";
      const bool has_batch = std::any_of(inputs.begin(), inputs.end(), [](const PortInfo& port) {
        return port.shape.size() > 2 && port.shape[0] == 1;
      });
      const std::string hint =
          has_batch ? "; a size is that of one sample: is the 1 that it begins with one too many?"
                    : "";
      if (!needs_real) throw Error(place_of_inputs(declaration), problem + *why + hint);
      open.made_samples_failed = true;
    }
    open.canonical.set("input", params->input);
    if (!params->inputs.as_map().empty()) open.canonical.set("inputs", params->inputs);
    if (!params->axes.as_map().empty()) open.canonical.set("axes", params->axes);
    declare_axes(*open.model, params->axes);
    resources_.models[declaration.name] = std::move(open);
  }

  void declare_axes(const ProgramModel& model, const Value& declared) {
    for (const auto& entry : declared.as_map()) {
      ReadContext context{problems_, {}};
      const auto names = ParameterType<std::vector<std::string>>::read(entry.value, context);
      for (const std::string& name : names) {
        if (std::find(axis_names().begin(), axis_names().end(), name) == axis_names().end())
          throw Error(entry.value.location(),
                      "there is no axis \"" + name + "\"" + suggestion(name, axis_names()));
      }
      try {
        model.declare_axes(parse_hook_point(entry.key, entry.key_location), names);
      } catch (const Error& error) {
        throw Error(entry.key_location, error.what());
      }
    }
  }

  std::shared_ptr<ProgramModel> make_model(const Declaration& declaration, Program program,
                                           const DeclaredInputs& inputs) {
    try {
      return std::make_shared<ProgramModel>(declaration.name, std::move(program), inputs, device_);
    } catch (const Error& error) {
      throw Error(place_of_inputs(declaration), error.full());
    }
  }

  static Location place_of_inputs(const Declaration& declaration) {
    for (const char* key : {"input", "inputs"}) {
      if (const Value* said = declaration.content.find(key)) return said->location();
    }
    return declaration.location;
  }

  std::shared_ptr<HostDataset> open_dataset(const Declaration& declaration) {
    const auto found = resources_.datasets.find(declaration.name);
    if (found != resources_.datasets.end()) return found->second;
    if (!visited_.insert(declaration.name).second) {
      if (opening_.contains(declaration.name))
        problems_.add(declaration.location,
                      "the dataset \"" + declaration.name + "\" is made from itself");
      return nullptr;
    }
    opening_.insert(declaration.name);
    std::shared_ptr<HostDataset> made;
    guard(declaration, [&] {
      made = make_dataset(declaration);
      if (made && made->info().size == 0)
        throw Error("the dataset \"" + declaration.name + "\" has no samples" +
                    (made->info().skipped.empty() ? "" : ": " + skipped_text(made->info())));
    });
    opening_.erase(declaration.name);
    if (made) resources_.datasets[declaration.name] = made;
    return made;
  }

  std::shared_ptr<HostDataset> dataset_named(const std::string& name, const Location& location) {
    std::vector<std::string> names;
    for (const Declaration& declaration : pipeline_.datasets) {
      if (declaration.name == name) return open_dataset(declaration);
      names.push_back(declaration.name);
    }
    throw Error(location, "there is no dataset \"" + name + "\"" + suggestion(name, names));
  }

  std::shared_ptr<HostDataset> make_dataset(const Declaration& declaration) {
    const Value& content = declaration.content;
    if (content.find("zip") != nullptr) {
      const auto params = read<ZipParams>(content);
      if (!params) return nullptr;
      std::vector<std::pair<std::string, std::shared_ptr<const HostDataset>>> parts;
      for (const auto& entry : params->zip.as_map()) {
        auto part = dataset_named(entry.value.as_string(), entry.value.location());
        if (!part) return nullptr;
        parts.emplace_back(entry.key, std::move(part));
      }
      if (parts.size() < 2) throw Error(params->zip.location(), "zip needs two datasets or more");
      return zip(declaration.name, std::move(parts));
    }
    if (content.find("from") != nullptr) return make_derived(declaration);
    if (auto made = from_plugin(declaration)) return *made;
    if (source(declaration, {"image_folder", "tensors"}) == "tensors") {
      const auto params = read<TensorFilesParams>(content);
      return params ? open_tensor_files(declaration.name, *params, base_) : nullptr;
    }
    const auto params = read<ImageFolderParams>(content);
    return params ? open_image_folder(declaration.name, *params, base_) : nullptr;
  }

  /// A dataset whose source a plugin brings; nothing when the source is no stage type.
  std::optional<std::shared_ptr<HostDataset>> from_plugin(const Declaration& declaration) {
    const Value* source = declaration.content.find("source");
    if (source == nullptr || !source->is_string() ||
        catalog_.plugin_of(source->as_string()) == nullptr)
      return std::nullopt;
    const StageType& type = catalog_.stage_type(source->as_string());
    const Value with = without_source(declaration.content);
    ReadContext context{problems_};
    const std::unique_ptr<Stage> stage = type.make(with, context);
    if (!stage) return nullptr;
    auto* made = static_cast<DatasetSource*>(stage->capability(DatasetSource::capability_id));
    if (made == nullptr)
      throw Error(source->location(), "\"" + source->as_string() + "\" is no source of samples");
    Value identity = Value::map();
    identity.set("plugin", catalog_.plugin_hash(source->as_string()));
    identity.set("source", source->as_string());
    identity.set("parameters", canonical_parameters(type.description(), with));
    return std::make_shared<SourceDataset>(declaration.name, made->open(), std::move(identity));
  }

  std::shared_ptr<HostDataset> make_derived(const Declaration& declaration) {
    const auto params = read<DerivedParams>(declaration.content);
    if (!params) return nullptr;
    auto from = dataset_named(params->from, declaration.content.at("from").location());
    if (!from) return nullptr;
    const int ways = (params->where ? 1 : 0) + (params->split ? 1 : 0) + (params->draw ? 1 : 0);
    if (ways != 1)
      throw Error(declaration.location, "a dataset from another has one of where, split, draw");
    if (params->where) return where(declaration.name, from, *params->where);
    if (params->split) return split(declaration.name, from, *params->split);
    return draw(declaration.name, from, *params->draw, params->times,
                static_cast<std::uint64_t>(params->seed));
  }

  const Pipeline& pipeline_;
  Catalog& catalog_;
  at::Device device_;
  Problems& problems_;
  std::filesystem::path base_;
  Resources resources_;
  std::set<std::string> visited_, opening_;
};

Value any_of(std::vector<Value> schemas) {
  Value list = Value::list();
  for (Value& schema : schemas) list.push_back(std::move(schema));
  Value schema;
  schema.set("anyOf", std::move(list));
  return schema;
}

Value with_source(Value schema, const char* source) {
  Value word;
  word.set("const", source);
  schema.find("properties")->set("source", std::move(word));
  return schema;
}

}  // namespace

Resources open_resources(const Pipeline& pipeline, Catalog& catalog, at::Device device,
                         Problems& problems) {
  return Opener(pipeline, catalog, device, problems).open();
}

void Resources::for_each_model(const std::function<void(ProgramModel&)>& action) const {
  for (const auto& [name, open] : models) {
    action(*open.model);
    for (const std::shared_ptr<ProgramModel>& model : open.fed) action(*model);
  }
}

Value model_schema() {
  Value given = parameters_schema(spec_of<ModelParams>().description());
  Value& properties = *given.find("properties");
  const auto describe = [&](const char* key, Value schema) {
    schema.set("description", properties.at(key).at("description"));
    properties.set(key, std::move(schema));
  };
  describe("input", input_schema());
  describe("inputs", inputs_schema());
  return any_of({with_source(std::move(given), "torchscript"),
                 parameters_schema(spec_of<DerivedModelParams>().description())});
}

bool is_dataset_source(const StageDescription& description) {
  return std::find(description.capabilities.begin(), description.capabilities.end(),
                   DatasetSource::capability_id) != description.capabilities.end();
}

Value dataset_schema(const std::vector<const StageDescription*>& stage_types) {
  std::vector<Value> schemas = {
      with_source(parameters_schema(spec_of<ImageFolderParams>().description()), "image_folder"),
      with_source(parameters_schema(spec_of<TensorFilesParams>().description()), "tensors"),
      parameters_schema(spec_of<DerivedParams>().description()),
      parameters_schema(spec_of<ZipParams>().description())};
  for (const StageDescription* type : stage_types) {
    if (is_dataset_source(*type))
      schemas.push_back(with_source(parameters_schema(*type), type->type.c_str()));
  }
  return any_of(std::move(schemas));
}

}  // namespace microtome::host
