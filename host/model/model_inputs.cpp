// What a model takes: its inputs' names, types and sizes, and samples to try it on.
#include <algorithm>

#include "host/model/example_inputs.h"
#include "host/model/plan/rewriting.h"
#include "host/model/program_model.h"

namespace microtome::host {
namespace {

bool is_half(at::ScalarType type) { return type == at::kHalf || type == at::kBFloat16; }

bool is_known(const PortInfo& port) {
  return !port.shape.empty() && std::all_of(port.shape.begin(), port.shape.end(),
                                            [](std::int64_t size) { return size >= 0; });
}

}  // namespace

const DeclaredInput* DeclaredInputs::find(const Program& program, const ProgramPort& input) const {
  const auto required = std::count_if(program.inputs.begin(), program.inputs.end(),
                                      [](const ProgramPort& port) { return !port.optional; });
  for (const DeclaredInput& declared : list_) {
    if (declared.name == input.name) return &declared;
    const bool is_only = program.inputs.size() == 1 || (required == 1 && !input.optional);
    if (declared.name.empty() && is_only) return &declared;
  }
  return nullptr;
}

at::ScalarType ProgramModel::given_type(std::size_t input) const {
  const DeclaredInput* declared = declared_.find(program_, program_.inputs.at(input));
  if (declared != nullptr && declared->type) return *declared->type;
  const InputUse& use = uses_.at(input);
  if (use.type) return *use.type;
  // Ids that the network makes integers of itself.
  return use.ids > 0 ? at::kLong : at::kFloat;
}

void ProgramModel::describe_inputs() {
  uses_ = input_uses(program_);
  std::set<std::size_t> half;
  for (std::size_t i = 0; i < program_.inputs.size(); ++i) {
    const ProgramPort& port = program_.inputs[i];
    const DeclaredInput* declared = declared_.find(program_, port);
    at::ScalarType type = given_type(i);
    if (is_half(type)) {
      half.insert(i);
      program_.reduced_precision = type;
      type = at::kFloat;
    }
    inputs_.push_back(
        {port.name, type, declared != nullptr ? declared->size : std::vector<std::int64_t>{}});
  }
  if (!half.empty()) rewriting::reduce_inputs(program_, *program_.reduced_precision, half);
  for (std::size_t i = 0; i < program_.inputs.size(); ++i) {
    const DeclaredInput* declared = declared_.find(program_, program_.inputs[i]);
    if (declared == nullptr || declared->mean.empty()) continue;
    if (normalised_) {
      throw Error(
          "mean and std are for one input of a model; the images of the others are normalised by "
          "their dataset (transform: {normalize: {mean: ..., std: ...}})");
    }
    if (!c10::isFloatingType(inputs_[i].type))
      throw Error("mean and std are for images, and the input \"" + inputs_[i].name +
                  "\" takes integers");
    normalised_ = i;
    mean_ = at::tensor(declared->mean, inputs_[i].type);
    std_ = at::tensor(declared->std, inputs_[i].type);
    add_normalisation(program_, i, mean_, std_);
  }
}

at::Tensor ProgramModel::taken(std::size_t input, const at::Tensor& value) const {
  const at::ScalarType type = inputs_[input].type;
  // Made by a stage, say, that knows of no double precision.
  const bool widens = type == at::kDouble && value.is_floating_point();
  return widens ? value.to(device_, type) : value.to(device_);
}

std::vector<at::Tensor> ProgramModel::example_inputs(std::int64_t rows) const {
  std::vector<at::Tensor> examples;
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    const bool is_real = i < samples_.size() && samples_[i].defined();
    if (is_real) {
      examples.push_back(example_rows(samples_[i], rows));
    } else if (program_.inputs[i].optional) {
      examples.emplace_back();
    } else if (samples_.empty() && is_known(inputs_[i])) {
      examples.push_back(example_input(inputs_[i], uses_[i].ids, rows));
    } else {
      return {};
    }
  }
  return examples;
}

std::shared_ptr<ProgramModel> ProgramModel::fed(std::vector<PortInfo> inputs,
                                                std::vector<at::Tensor> samples) const {
  auto model = std::shared_ptr<ProgramModel>(new ProgramModel(*this, program_));
  model->inputs_ = std::move(inputs);
  model->samples_ = std::move(samples);
  return model;
}

at::Tensor ProgramModel::normalise(const at::Tensor& pixels) const {
  if (!normalises()) return pixels;
  const auto shaped = [&](const at::Tensor& value) {
    return value.to(pixels.device()).view({-1, 1, 1});
  };
  return (pixels - shaped(mean_)) / shaped(std_);
}

void ProgramModel::learn_default_shapes() const {
  if (taught_ != nullptr) return;
  if (const std::vector<at::Tensor> examples = example_inputs(trial_rows); !examples.empty())
    learn_shapes(examples);
}

}  // namespace microtome::host
