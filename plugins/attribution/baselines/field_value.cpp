#include "baselines/field_value.h"

#include "result.h"

namespace attribution {

using namespace microtome;

namespace {

std::string named(const std::string& parameter, const std::string& field) {
  return parameter + ": the field \"" + field + "\"";
}

}  // namespace

void check_field_value(const PlanInputs& inputs, const HookPoint& at, const std::string& field,
                       const std::string& parameter) {
  const DatasetInfo* data = inputs.dataset("data");
  if (data == nullptr) return;
  const FieldInfo* known = data->find(field);
  if (known == nullptr) {
    std::vector<std::string> names;
    for (const FieldInfo& each : data->fields) names.push_back(each.name);
    inputs.problems().add(
        {}, parameter + ": the dataset has no field \"" + field + "\"" + suggestion(field, names));
    return;
  }
  const auto info = inputs.resolve("model", at);
  const Model* model = inputs.model("model");
  if (!info || info->shape.empty() || model == nullptr) return;
  const auto is_like = [&](at::IntArrayRef shape) {
    if (shape.size() != known->shape.size()) return false;
    for (std::size_t i = 0; i < shape.size(); ++i) {
      if (shape[i] >= 0 && known->shape[i] >= 0 && shape[i] != known->shape[i]) return false;
    }
    return true;
  };
  const bool can_be_input = model->inputs().size() == 1 &&
                            (model->inputs()[0].shape.empty() || is_like(model->inputs()[0].shape));
  if (!is_like(at::IntArrayRef(info->shape).slice(1)) && !can_be_input) {
    inputs.problems().add({}, named(parameter, field) +
                                  " has neither the shape of the value at \"" + at.text() +
                                  "\" nor that of the model's input");
  }
}

at::Tensor field_value(const AttributionInput& input, const HookPoint& at, const std::string& field,
                       const at::Tensor& value, const std::string& parameter) {
  const at::Tensor& given = input.batch.fields.at(field);
  if (const auto found = first_not_finite(given))
    throw Error(named(parameter, field) + " of sample \"" +
                input.batch.ids.at(static_cast<std::size_t>(found->place[0])) +
                "\" holds a NaN or an infinite value (" + found->text(1) + ")");
  const auto& [port, own] = *input.inputs.begin();
  const bool is_image = input.inputs.size() == 1 && given.sizes() == own.sizes();
  // An image of a model that normalises is one of pixels, as the samples are.
  if (given.sizes() == value.sizes() && !(is_image && at.is_model_input()))
    return given.to(value.options());
  if (!is_image) {
    throw Error(named(parameter, field) + " must have the shape of the value at \"" + at.text() +
                "\" or that of the model's input");
  }
  Pass pass;
  pass.capture = {at};
  pass.outputs = false;
  return input.model.run({{port, given.to(own.options())}}, pass).captured[0];
}

}  // namespace attribution
