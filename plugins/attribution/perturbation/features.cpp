#include "perturbation/features.h"

#include <algorithm>
#include <cstdlib>

#include "microtome/inputs_behind.h"
#include "perturbation/superpixels.h"

namespace attribution {

using namespace microtome;

namespace {

/// A map of regions, N x 1 x H x W, as features of a value.
Features regions_of(at::Tensor regions, const at::Tensor& value, const std::string& what) {
  if (regions.dim() == 3) regions = regions.unsqueeze(1);
  if (regions.dim() != 4 || regions.size(1) != 1 || regions.size(2) != value.size(2) ||
      regions.size(3) != value.size(3)) {
    throw Error(what + " is no map of " + std::to_string(value.size(2)) + " x " +
                std::to_string(value.size(3)) + " regions");
  }
  return {regions, regions.max().item<std::int64_t>() + 1};
}

}  // namespace

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
  if (word != "grid" && word != "slic")
    throw Error("\"" + text + "\" is no grouping" +
                suggestion(word, {"grid:N", "slic:N", "unit", "channel", "field:NAME"}));
  grouping.kind = word == "grid" ? Kind::grid : Kind::slic;
  const auto second = word == "slic" ? rest.find(':') : std::string::npos;
  const std::string side = rest.substr(0, second);
  char* end = nullptr;
  grouping.side = std::strtol(side.c_str(), &end, 10);
  if (side.empty() || *end != 0 || grouping.side < 1 || grouping.side > 100000)
    throw Error("\"" + text + "\": \"" + side + "\" is no number of pixels above 0");
  if (second == std::string::npos) return grouping;
  const std::string compactness = rest.substr(second + 1);
  grouping.compactness = std::strtod(compactness.c_str(), &end);
  if (compactness.empty() || *end != 0 || !(grouping.compactness > 0) || grouping.compactness > 1e4)
    throw Error("\"" + text + "\": \"" + compactness + "\" is no compactness above 0");
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
  if (kind == Kind::slic) {
    const DatasetInfo* data = inputs.dataset("data");
    const auto is_image = [](const FieldInfo& field) { return field.image; };
    if (data != nullptr && std::none_of(data->fields.begin(), data->fields.end(), is_image))
      inputs.problems().add({}, "the dataset has no images to take superpixels of; take grid:N");
  }
  if (kind == Kind::unit) return;
  const Model* model = inputs.model("model");
  if (model == nullptr) return;
  const auto info = inputs.resolve("model", at);
  if (info && !info->shape.empty() && !is_map(info->axes)) {
    inputs.problems().add(at.location,
                          "the grouping is of values N x channels x height x width (c, y, x), and "
                          "the axes at \"" +
                              at.text() + "\" are " + axes_text(info->axes) + "; take unit");
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

Features features_of(const Grouping& grouping, const at::Tensor& value, const Axes& axes,
                     const AttributionInput& input, const HookPoint& at) {
  const auto shape = value.sizes();
  if (grouping.kind == Grouping::Kind::unit) {
    std::vector<std::int64_t> of_one = shape.vec();
    of_one[0] = 1;
    const std::int64_t count = value.numel() / std::max<std::int64_t>(value.size(0), 1);
    return {at::arange(count).view(of_one), count};
  }
  if (!is_map(axes))
    throw Error(
        "the grouping is of values N x channels x height x width (c, y, x), the axes of this one "
        "are " +
        (axes.empty() ? "not known" : axes_text(axes)) + "; take unit");
  if (grouping.kind == Grouping::Kind::channel)
    return {at::arange(shape[1]).view({1, -1, 1, 1}), shape[1]};
  if (grouping.kind == Grouping::Kind::grid) {
    const std::int64_t down = (shape[2] + grouping.side - 1) / grouping.side,
                       across = (shape[3] + grouping.side - 1) / grouping.side;
    const at::Tensor row = at::arange(shape[2]).div(grouping.side, "floor"),
                     column = at::arange(shape[3]).div(grouping.side, "floor");
    return {(row.unsqueeze(1) * across + column).view({1, 1, shape[2], shape[3]}), down * across};
  }
  if (grouping.kind == Grouping::Kind::slic) {
    const FieldInfo* images =
        input.data == nullptr
            ? nullptr
            : images_behind(input.model, input.inputs, at, input.data->info(), input.batch);
    if (images == nullptr)
      throw Error("\"" + at.text() + "\" sees no images to take superpixels of");
    return regions_of(
        superpixels(input.batch.fields.at(images->name), grouping.side, grouping.compactness),
        value, "the image");
  }
  const std::string what = "the field \"" + grouping.field + "\"";
  const at::Tensor regions = input.batch.fields.at(grouping.field).to(at::kLong);
  if (regions.min().item<std::int64_t>() < 0) throw Error(what + " has a negative region number");
  return regions_of(regions, value, what);
}

}  // namespace attribution
