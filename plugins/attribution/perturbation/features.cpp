#include "perturbation/features.h"

#include <cstdlib>

namespace attribution {

using namespace microtome;

Grouping Grouping::parse(const std::string& text) {
  const auto colon = text.find(':');
  const std::string word = text.substr(0, colon);
  const std::string rest = colon == std::string::npos ? "" : text.substr(colon + 1);
  Grouping grouping;
  if (word == "unit" || word == "channel") {
    if (colon != std::string::npos) throw Error("\"" + word + "\" takes nothing after a colon");
    grouping.kind = word == "unit" ? Kind::unit : Kind::channel;
    return grouping;
  }
  if (word == "field") {
    if (rest.empty()) throw Error("\"" + text + "\" names no field; write field:NAME");
    grouping.kind = Kind::field;
    grouping.field = rest;
    return grouping;
  }
  if (word != "grid")
    throw Error("\"" + text + "\" is no grouping" +
                suggestion(word, {"grid:N", "unit", "channel", "field:NAME"}));
  char* end = nullptr;
  grouping.cell = std::strtol(rest.c_str(), &end, 10);
  if (rest.empty() || *end != 0 || grouping.cell < 1 || grouping.cell > 100000)
    throw Error("\"" + text + "\": \"" + rest + "\" is no number of pixels above 0");
  return grouping;
}

void Grouping::check(const PlanInputs& inputs, const HookPoint& at) const {
  if (kind == Kind::field) {
    const DatasetInfo* data = inputs.dataset("data");
    const FieldInfo* known = data == nullptr ? nullptr : data->find(field);
    if (data != nullptr && known == nullptr) {
      std::vector<std::string> names;
      for (const FieldInfo& each : data->fields) names.push_back(each.name);
      inputs.problems().add(
          {}, "the dataset has no field \"" + field + "\"" + suggestion(field, names));
    } else if (known != nullptr && !c10::isIntegralType(known->type, true)) {
      inputs.problems().add({}, "the field \"" + field + "\" holds no whole numbers of regions");
    }
  }
  if (kind == Kind::unit) return;
  const Model* model = inputs.model("model");
  if (model == nullptr) return;
  const auto info = inputs.resolve("model", at);
  if (info && !info->shape.empty() && info->shape.size() != 4) {
    inputs.problems().add(at.location,
                          "the grouping is of values N x channels x height x width, "
                          "and \"" +
                              at.text() + "\" has rank " + std::to_string(info->shape.size()) +
                              "; take unit");
  }
}

at::Tensor Features::spread(const at::Tensor& by_feature, const at::Tensor& like) const {
  const std::int64_t rows = like.size(0);
  const at::Tensor places = index.to(by_feature.device()).expand_as(like).reshape({rows, -1});
  return by_feature.gather(1, places).view(like.sizes());
}

at::Tensor Features::composed(const at::Tensor& present, const at::Tensor& with,
                              const at::Tensor& without) const {
  return at::where(spread(present.to(with.device()), with), with, without);
}

Features features_of(const Grouping& grouping, const at::Tensor& value, const Batch& batch) {
  const auto shape = value.sizes();
  if (grouping.kind == Grouping::Kind::unit) {
    std::vector<std::int64_t> of_one = shape.vec();
    of_one[0] = 1;
    const std::int64_t count = value.numel() / std::max<std::int64_t>(value.size(0), 1);
    return {at::arange(count).view(of_one), count};
  }
  if (value.dim() != 4)
    throw Error("the grouping is of values N x channels x height x width, this one has rank " +
                std::to_string(value.dim()) + "; take unit");
  if (grouping.kind == Grouping::Kind::channel)
    return {at::arange(shape[1]).view({1, -1, 1, 1}), shape[1]};
  if (grouping.kind == Grouping::Kind::grid) {
    const std::int64_t down = (shape[2] + grouping.cell - 1) / grouping.cell,
                       across = (shape[3] + grouping.cell - 1) / grouping.cell;
    const at::Tensor row = at::arange(shape[2]).div(grouping.cell, "floor"),
                     column = at::arange(shape[3]).div(grouping.cell, "floor");
    return {(row.unsqueeze(1) * across + column).view({1, 1, shape[2], shape[3]}), down * across};
  }
  at::Tensor regions = batch.fields.at(grouping.field).to(at::kLong);
  if (regions.dim() == 3) regions = regions.unsqueeze(1);
  if (regions.dim() != 4 || regions.size(1) != 1 || regions.size(2) != shape[2] ||
      regions.size(3) != shape[3]) {
    throw Error("the field \"" + grouping.field + "\" is no map of " + std::to_string(shape[2]) +
                " x " + std::to_string(shape[3]) + " regions");
  }
  if (regions.min().item<std::int64_t>() < 0)
    throw Error("the field \"" + grouping.field + "\" has a negative region number");
  return {regions, regions.max().item<std::int64_t>() + 1};
}

}  // namespace attribution
