#include "shapes.h"

#include <algorithm>

#include "painter.h"

namespace shapes {

using namespace microtome;

namespace {

std::size_t factor_named(const std::string& name) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < factors().size(); ++i) {
    if (factors()[i].name == name) return i;
    names.emplace_back(factors()[i].name);
  }
  throw Error("there is no factor \"" + name + "\"" + suggestion(name, names));
}

std::vector<std::size_t> factors_named(const std::vector<std::string>& names) {
  std::vector<std::size_t> result;
  result.reserve(names.size());
  for (const std::string& name : names) result.push_back(factor_named(name));
  return result;
}

std::int64_t count_of(std::size_t factor) {
  return static_cast<std::int64_t>(factors()[factor].values.size());
}

/// The samples; each is painted when it is asked for.
class Paintings final : public Dataset {
 public:
  Paintings(Params params, std::vector<std::size_t> label, std::vector<std::size_t> follows,
            std::optional<std::size_t> changed)
      : params_(std::move(params)),
        label_(std::move(label)),
        follows_(std::move(follows)),
        changed_(changed) {
    info_.name = "shapes";
    info_.size = params_.samples;
    info_.fields.push_back({"image", at::kFloat, {3, params_.size, params_.size}, {}, true});
    info_.fields.push_back({"label", at::kLong, {}, class_names(), false});
    for (const Factor& factor : factors())
      info_.fields.push_back({"factor." + std::string(factor.name), at::kLong, {}, factor.values});
    info_.fields.push_back({"mask", at::kBool, {params_.size, params_.size}, {}, false});
  }

  const DatasetInfo& info() const override { return info_; }
  std::string id(std::int64_t position) const override {
    return "shape-" + std::to_string(position);
  }
  at::Tensor column(const std::string& field) const override {
    if (field == "image" || field == "mask" || info_.find(field) == nullptr)
      return Dataset::column(field);
    const at::Tensor all = at::empty({params_.samples}, at::kLong);
    for (std::int64_t i = 0; i < params_.samples; ++i) all[i] = value(factors_of(i), field);
    return all;
  }

  Batch load(const std::vector<std::int64_t>& positions) const override {
    Batch batch;
    batch.positions = positions;
    std::vector<at::Tensor> images, masks;
    std::vector<Factors> made;
    for (const std::int64_t position : positions) {
      made.push_back(factors_of(position));
      const Painting painting = paint(made.back(), params_.size, seed_of(position));
      images.push_back(painting.image);
      masks.push_back(painting.mask);
      batch.ids.push_back(id(position));
    }
    if (positions.empty()) return batch;
    for (const FieldInfo& field : info_.fields) {
      if (field.name == "image" || field.name == "mask") {
        batch.fields.set(field.name, at::stack(field.name == "image" ? images : masks));
        continue;
      }
      std::vector<std::int64_t> values;
      values.reserve(made.size());
      for (const Factors& one : made) values.push_back(value(one, field.name));
      batch.fields.set(field.name, at::tensor(values, at::kLong));
    }
    return batch;
  }

 private:
  std::uint64_t seed_of(std::int64_t position) const {
    return static_cast<std::uint64_t>(params_.seed) * 0x9E3779B97F4A7C15ULL +
           static_cast<std::uint64_t>(position);
  }

  Factors factors_of(std::int64_t position) const {
    // Another stream than the painter's.
    at::Generator generator = at::detail::createCPUGenerator(~seed_of(position));
    const at::Tensor drawn =
        at::rand({static_cast<std::int64_t>(factors().size()) + 2}, generator, at::kDouble);
    const auto* u = drawn.data_ptr<double>();
    Factors made{};
    const auto pick = [](double share, std::int64_t count) {
      return std::min(static_cast<std::int64_t>(share * static_cast<double>(count)), count - 1);
    };
    for (std::size_t i = 0; i < made.size(); ++i) made[i] = pick(u[i], count_of(i));
    if (u[made.size()] < params_.agreement) {
      for (const std::size_t factor : follows_) made[factor] = made[label_[0]] % count_of(factor);
    }
    if (changed_) {
      const std::int64_t others = count_of(*changed_) - 1;
      made[*changed_] =
          (made[*changed_] + 1 + pick(u[made.size() + 1], others)) % count_of(*changed_);
    }
    return made;
  }

  std::int64_t value(const Factors& made, const std::string& field) const {
    if (field == "label") {
      std::int64_t label = 0;
      for (const std::size_t factor : label_) label = label * count_of(factor) + made[factor];
      return label;
    }
    return made[factor_named(field.substr(std::string("factor.").size()))];
  }

  std::vector<std::string> class_names() const {
    std::vector<std::string> names{""};
    for (const std::size_t factor : label_) {
      std::vector<std::string> longer;
      for (const std::string& name : names) {
        for (const std::string& value : factors()[factor].values) {
          longer.push_back(name.empty() ? value : name);
          if (!name.empty()) longer.back() += " " + value;
        }
      }
      names = std::move(longer);
    }
    return names;
  }

  Params params_;
  std::vector<std::size_t> label_, follows_;
  std::optional<std::size_t> changed_;
  DatasetInfo info_;
};

}  // namespace

Shapes::Shapes(Params params) : params_(std::move(params)) {
  label_ = factors_named(params_.label);
  if (label_.empty()) throw Error("label: name one factor at least");
  follows_ = factors_named(params_.follows);
  if (std::find(follows_.begin(), follows_.end(), label_[0]) != follows_.end())
    throw Error("follows: \"" + params_.label[0] + "\" can't follow itself");
  if (params_.changed) changed_ = factor_named(*params_.changed);
}

void Shapes::describe(StageSpec<Params>& spec) {
  spec.summary("Generated images of one object each, with known concepts.");
  spec.details(
      "Factors are shape, texture, colour, size, place and background, each a field "
      "`factor.NAME`; `mask` is true on the object; shapes have one area. The label is the "
      "combination of some factors. With `follows` other factors agree with the label in a share "
      "of the samples, so that what a network ought to have learnt is known. With `changed` each "
      "sample has one factor changed and all else as it was: paired by id with the dataset "
      "without it, these are counterfactuals.");
  spec.parameter("samples", &Params::samples).range(1, 1e9).doc("how many");
  spec.parameter("size", &Params::size).range(16, 512).unit("pixels").doc("side of an image");
  spec.parameter("seed", &Params::seed).range(0, 9e15).doc("other seeds give other samples");
  spec.parameter("label", &Params::label).doc("factors whose combination is the class");
  spec.parameter("follows", &Params::follows)
      .doc("factors that agree with the label's first factor");
  spec.parameter("agreement", &Params::agreement)
      .range(0, 1)
      .unit("share")
      .doc("samples in which they do");
  spec.parameter("changed", &Params::changed).doc("the factor that is another in each sample");
  spec.capability(DatasetSource::capability_id);
}

std::shared_ptr<const Dataset> Shapes::open() const {
  return std::make_shared<Paintings>(params_, label_, follows_, changed_);
}

}  // namespace shapes
