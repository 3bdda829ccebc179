#include "microtome/stage.h"

#include "microtome/class_numbers.h"
#include "microtome/plugin.h"
#include "microtome/target.h"

namespace microtome {

ArtifactReader::~ArtifactReader() = default;
ArtifactWriter::~ArtifactWriter() = default;
PlanInputs::~PlanInputs() = default;
StageState::~StageState() = default;
Stage::~Stage() = default;
StageType::~StageType() = default;
Registry::~Registry() = default;

namespace {
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

void PlanInputs::check_target(const std::string& model_port, const std::string& data_port,
                              const Target& target) const {
  if (target.hook) resolve(model_port, *target.hook);
  const Model* found = model(model_port);
  const DatasetInfo* data = dataset(data_port);
  std::optional<std::int64_t> classes;
  if (found != nullptr && !target.hook) {
    std::vector<std::string> names;
    const PortInfo* output = nullptr;
    for (const PortInfo& info : found->outputs()) {
      names.push_back(info.name);
      if (output == nullptr && (target.output.empty() || info.name == target.output))
        output = &info;
    }
    if (output == nullptr) {
      problems().add(target.location, "the model has no output \"" + target.output + "\"" +
                                          suggestion(target.output, names));
    } else if (!output->shape.empty()) {
      classes = output->shape.back();
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
