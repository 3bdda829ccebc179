#include "host/pipeline/feeding.h"

#include <algorithm>

#include "host/pipeline/model_inputs.h"
#include "host/support/element_type.h"

namespace microtome::host {
namespace {

/// Samples that are tried, and how many are looked at for them.
constexpr std::size_t most_samples = 2;
constexpr std::int64_t most_read = 8;

std::vector<Sample> first_samples(const HostDataset& data) {
  std::vector<Sample> samples;
  for (std::int64_t i = 0; i < std::min(most_read, data.info().size); ++i) {
    try {
      samples.push_back(data.read(i));
    } catch (const Error&) {
      // It is an error of the run, or skipped there.
      continue;
    }
    if (samples.size() == most_samples) break;
  }
  return samples;
}

void check_ids(const at::Tensor& values, const Binding& binding, std::int64_t ids) {
  if (ids == 0 || values.numel() == 0 || !c10::isIntegralType(values.scalar_type(), true)) return;
  const at::Tensor numbers = values.to(at::kLong);
  const auto least = numbers.min().item<std::int64_t>(), most = numbers.max().item<std::int64_t>();
  if (least >= 0 && most < ids) return;
  throw Error("the field \"" + binding.field + "\" has the id " +
              std::to_string(least < 0 ? least : most) +
              ", and the embedding that reads the input \"" + binding.input + "\" has ids 0 to " +
              std::to_string(ids - 1));
}

/// Whether it runs on several rows, though not on one.
bool runs_on_two(const ProgramModel& model) {
  NamedTensors inputs;
  const std::vector<at::Tensor> examples = model.example_inputs(2);
  for (std::size_t i = 0; i < examples.size(); ++i) {
    if (examples[i].defined()) inputs.set(model.inputs()[i].name, examples[i]);
  }
  try {
    model.run(inputs, {});
    return true;
  } catch (const Error&) {
    return false;
  }
}

/// Whether it runs on one channel of the images, as a network for grey ones does.
bool runs_on_grey(const ProgramModel& model, std::vector<PortInfo> inputs,
                  std::vector<at::Tensor> samples) {
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].shape.size() != 3 || inputs[i].shape[0] != 3) continue;
    inputs[i].shape[0] = 1;
    samples[i] = samples[i].narrow(1, 0, 1);
  }
  return !try_model(*model.fed(std::move(inputs), std::move(samples)));
}

}  // namespace

std::shared_ptr<ProgramModel> Feeding::feed(const ProgramModel& model, const HostDataset& data,
                                            const std::vector<Binding>& bindings) {
  std::vector<PortInfo> inputs = model.inputs();
  std::string key = model.name();
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    PortInfo& input = inputs[i];
    const auto bound = std::find_if(bindings.begin(), bindings.end(), [&](const Binding& binding) {
      return binding.input == input.name;
    });
    if (bound == bindings.end()) {
      if (!model.program().inputs[i].optional) return nullptr;
      continue;
    }
    const FieldInfo* field = data.info().find(bound->field);
    if (field == nullptr) return nullptr;
    input.type = bound->to;
    input.shape = field->shape;
    key += "\n" + input.name + " " + type_name(input.type) + " " + shape_name(input.shape);
  }
  const auto [known, is_new] = fed_.try_emplace(key);
  if (!is_new) return known->second;
  std::vector<at::Tensor> samples(inputs.size());
  const std::vector<Sample> read = first_samples(data);
  if (read.empty()) return nullptr;
  for (const Binding& binding : bindings) {
    const auto place = static_cast<std::size_t>(
        std::find_if(inputs.begin(), inputs.end(),
                     [&](const PortInfo& input) { return input.name == binding.input; }) -
        inputs.begin());
    std::vector<at::Tensor> rows;
    for (const Sample& sample : read) {
      rows.push_back(sample.fields.at(binding.field).to(binding.to));
      if (rows.back().sizes() != at::IntArrayRef(inputs[place].shape)) return nullptr;
    }
    samples[place] = at::stack(rows);
    check_ids(samples[place], binding, model.uses()[place].ids);
  }
  auto fed = model.fed(inputs, samples);
  if (const auto why = try_model(*fed)) {
    if (runs_on_two(*fed)) return nullptr;
    const bool wants_grey = data.info().images() != nullptr &&
                            runs_on_grey(model, std::move(inputs), std::move(samples));
    throw Error("the model \"" + model.name() + "\" can't run on samples of the dataset \"" +
                data.info().name + "\", " + describe_inputs(*fed) + ": " + *why +
                (wants_grey
                     ? "; for a network of one channel give the dataset transform: {channels: 1}"
                     : ""));
  }
  return known->second = std::move(fed);
}

}  // namespace microtome::host
