#include "microtome/model.h"

#include <torch/csrc/autograd/autograd.h>

#include <limits>

#include "microtome/dataset.h"
#include "output_words.h"

namespace microtome {

NamedTensors::NamedTensors(std::initializer_list<std::pair<std::string, at::Tensor>> entries) {
  for (const auto& [name, value] : entries) set(name, value);
}

void NamedTensors::set(const std::string& name, at::Tensor value) {
  for (auto& entry : entries_) {
    if (entry.first == name) {
      entry.second = std::move(value);
      return;
    }
  }
  entries_.emplace_back(name, std::move(value));
}

const at::Tensor* NamedTensors::find(std::string_view name) const {
  for (const auto& entry : entries_) {
    if (entry.first == name) return &entry.second;
  }
  return nullptr;
}

const at::Tensor& NamedTensors::at(std::string_view name) const {
  if (const at::Tensor* value = find(name)) return *value;
  std::vector<std::string> names;
  for (const auto& entry : entries_) names.push_back(entry.first);
  throw Error("there is no tensor \"" + std::string(name) + "\"" + suggestion(name, names));
}

double HookPointInfo::bytes() const {
  if (!tensor || shape.empty()) return 0;
  auto bytes = static_cast<double>(c10::elementSize(type));
  for (const std::int64_t size : shape) bytes *= static_cast<double>(size);
  return bytes;
}

std::string several_outputs(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return "the model has several outputs, " + text +
         ": say which is meant (output: NAME; in a target {of: predicted, output: NAME})";
}

const at::Tensor& Recording::output(const std::string& name) const {
  if (!name.empty()) {
    for (const auto& [refused, reason] : refused_outputs) {
      if (refused == name) throw Error(reason);
    }
    return outputs.at(name);
  }
  if (outputs.empty()) {
    if (!refused_outputs.empty()) throw Error(refused_outputs.front().second);
    throw Error("the model has no tensor output");
  }
  if (outputs.size() > 1) {
    std::vector<std::string> names;
    for (const auto& [other, value] : outputs) names.push_back(other);
    throw Error(several_outputs(names));
  }
  return outputs.begin()->second;
}

std::vector<at::Tensor> Recording::gradients(const at::Tensor& objective, bool keep,
                                             bool create_graph) const {
  if (differentiated.empty()) throw Error("the pass names nothing to differentiate by");
  std::vector<at::Tensor> result;
  if (!objective.requires_grad()) {
    for (const at::Tensor& value : differentiated) result.push_back(at::zeros_like(value));
    return result;
  }
  result = torch::autograd::grad({objective.sum()}, differentiated, {}, keep || create_graph,
                                 create_graph, /*allow_unused=*/true);
  for (std::size_t i = 0; i < result.size(); ++i) {
    if (!result[i].defined()) result[i] = at::zeros_like(differentiated[i]);
    // In the order of the dimensions, however the model's plan lays values out.
    if (result[i].dim() >= 4) result[i] = result[i].contiguous();
  }
  return result;
}

Snapshot::~Snapshot() = default;

std::shared_ptr<const Snapshot> Snapshot::repeated(std::int64_t times) const {
  return select(at::arange(rows(), at::kLong).repeat({times}));
}

Model::~Model() = default;

std::int64_t Model::most_samples() const { return std::numeric_limits<std::int64_t>::max(); }

std::optional<HookPoint> Model::affine_prefix(const HookPoint&) const { return std::nullopt; }

NamedTensors Model::parameters() const { return {}; }

std::shared_ptr<const Model> Model::with_parameters(const NamedTensors&) const {
  throw Error(
      "the model has no parameters by name, so none can be replaced; it was frozen before it was "
      "saved");
}

}  // namespace microtome
