#include "microtome/stage.h"

#include "microtome/class_numbers.h"
#include "microtome/plugin.h"
#include "microtome/target.h"
#include "output_words.h"

namespace microtome {

ArtifactReader::~ArtifactReader() = default;
ArtifactWriter::~ArtifactWriter() = default;
PlanInputs::~PlanInputs() = default;
StageState::~StageState() = default;
Stage::~Stage() = default;
StageType::~StageType() = default;
Registry::~Registry() = default;

namespace {
/// Why the target can't be a class of this output; empty where it can.
std::string why_no_classes(const PortInfo& output, const Target& target) {
  const std::size_t rank = output.shape.size() + 1;
  if (target.position) return rank == 3 ? "" : wrong_rank_at_position(rank);
  return rank == 2 ? "" : wrong_rank(rank);
}

[[noreturn]] void not_provided(const char* method) {
  throw Error(std::string("the stage's plan asks for `") + method + "`, which it does not have");
}
}  // namespace

std::unique_ptr<StageState> Stage::begin(Context&) const { not_provided("begin"); }
void Stage::batch(StageState&, Chunk&, Context&) const { not_provided("batch"); }
void Stage::merge(StageState&, StageState&, Context&) const { not_provided("merge"); }
void Stage::finish(StageState&, Context&) const { not_provided("finish"); }
void Stage::run(Context&) const { not_provided("run"); }
void* Stage::capability(std::string_view) { return nullptr; }
void* StageState::capability(std::string_view) { return nullptr; }
void* StageType::capability(std::string_view) { return nullptr; }

void Chunk::emit(std::string port, std::string tensor, at::Tensor rows, bool allow_nan) {
  emissions.push_back({std::move(port), std::move(tensor), std::move(rows), allow_nan});
}

void PlanInputs::will_use(const std::string&, const HookPoint&) const {}

std::optional<HookPointInfo> PlanInputs::resolve(const std::string& port,
                                                 const HookPoint& hook) const {
  const Model* found = model(port);
  if (found == nullptr) return std::nullopt;
  try {
    HookPointInfo info = found->resolve(hook);
    if (!info.refusal.empty()) throw Error(info.refusal);
    will_use(port, hook);
    if (!hook.selector.empty() && !info.shape.empty()) {
      // Tries the selector on an empty value of that shape: it says what is wrong with it.
      select(at::zeros(info.shape, info.type), Selector{hook.selector.axes, {}}, info.axes);
    }
    return info;
  } catch (const Error& error) {
    problems().add(hook.location, error.what());
  } catch (const c10::Error& error) {
    problems().add(hook.location, error.what_without_backtrace());
  }
  return std::nullopt;
}

const PortInfo* PlanInputs::check_output(const std::string& model_port, const std::string& name,
                                         const Location& location) const {
  const Model* found = model(model_port);
  if (found == nullptr) return nullptr;
  std::vector<std::string> names, tensors;
  const PortInfo* output = nullptr;
  for (const PortInfo& info : found->outputs()) {
    names.push_back(info.name);
    // One whose shape is not known may be None.
    if (!info.shape.empty()) tensors.push_back(info.name);
    if (output == nullptr && (name.empty() || info.name == name)) output = &info;
  }
  if (tensors.size() > 1 && name.empty()) {
    problems().add(location, several_outputs(tensors));
    return nullptr;
  }
  if (output == nullptr)
    problems().add(location, "the model has no output \"" + name + "\"" + suggestion(name, names));
  // Which of several is not None a run tells.
  return name.empty() && names.size() > 1 ? nullptr : output;
}

void PlanInputs::check_target(const std::string& model_port, const std::string& data_port,
                              const Target& target) const {
  if (target.hook) resolve(model_port, *target.hook);
  const Model* found = model(model_port);
  const DatasetInfo* data = dataset(data_port);
  std::optional<std::int64_t> classes;
  if (found != nullptr && !target.hook) {
    const PortInfo* output = check_output(model_port, target.output, target.location);
    if (output != nullptr && !output->shape.empty()) {
      classes = output->shape.back();
      if (const std::string why = why_no_classes(*output, target); !why.empty())
        problems().add(target.location, why);
    }
  }
  const auto check_class = [&](const ClassReference& reference) {
    if (!reference.field.empty()) {
      const FieldInfo* known = data == nullptr ? nullptr : data->find(reference.field);
      if (known != nullptr) {
        if (const std::string why = why_not_classes(*known); !why.empty())
          problems().add(target.location, why);
      } else if (data != nullptr) {
        std::vector<std::string> names;
        for (const FieldInfo& field : data->fields) names.push_back(field.name);
        problems().add(target.location, "the dataset \"" + data->name + "\" has no field \"" +
                                            reference.field + "\"" +
                                            suggestion(reference.field, names));
      }
    } else if (classes && reference.index >= *classes) {
      problems().add(target.location, "class " + std::to_string(reference.index) +
                                          " is out of range: the model has classes 0 to " +
                                          std::to_string(*classes - 1));
    }
  };
  if (target.what == Target::What::class_index || target.what == Target::What::contrast) {
    check_class(target.first);
    check_class(target.second);
  }
  if (target.what == Target::What::label || target.what == Target::What::loss) {
    check_class({0, "label"});
  }
}

}  // namespace microtome
