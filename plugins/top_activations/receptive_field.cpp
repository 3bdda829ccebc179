#include "receptive_field.h"

#include <algorithm>

#include "reaching_rules.h"

namespace top_activations {

using namespace microtome;

namespace {

/// Noise by which a gradient is zero by chance is made up for by more; the rules see to ReLUs and
/// maxima, so this ends soon.
constexpr std::size_t fewest_runs = 2, most_runs = 8;

Box around(const Box& a, const Box& b) {
  if (a.empty()) return b;
  if (b.empty()) return a;
  return {std::min(a.top, b.top), std::min(a.left, b.left), std::max(a.bottom, b.bottom),
          std::max(a.right, b.right)};
}

/// Of a gradient [1, C, H, W].
Box reached(const at::Tensor& gradient) {
  const at::Tensor pixels = (gradient != 0).flatten(0, 1).any(0);
  const at::Tensor rows = pixels.any(1).nonzero().flatten(),
                   columns = pixels.any(0).nonzero().flatten();
  if (rows.numel() == 0) return {};
  return {rows[0].item<std::int64_t>(), columns[0].item<std::int64_t>(),
          rows[-1].item<std::int64_t>() + 1, columns[-1].item<std::int64_t>() + 1};
}

}  // namespace

ReceptiveFields::ReceptiveFields(const Model& model, const NamedTensors& inputs,
                                 std::string image_input, HookPoint layer, at::Generator generator)
    : model_(model), image_input_(std::move(image_input)), generator_(std::move(generator)) {
  for (const auto& [name, value] : inputs) inputs_.set(name, value.slice(0, 0, 1));
  layer.selector = {};
  pass_.capture = {std::move(layer)};
  pass_.record_gradients = true;
  pass_.outputs = false;
  pass_.rules = reaching_rules();
  const at::Tensor& image = inputs_.at(image_input_);
  whole_ = {0, 0, image.size(2), image.size(3)};
}

const ReceptiveFields::Run& ReceptiveFields::run(std::size_t i) {
  while (runs_.size() <= i) {
    const at::AutoGradMode recording(true);
    const at::Tensor& image = inputs_.at(image_input_);
    const at::Tensor noise = at::rand(image.sizes(), generator_, at::kFloat)
                                 .to(image.options())
                                 .requires_grad_(image.is_floating_point());
    NamedTensors given = inputs_;
    given.set(image_input_, noise);
    const Recording passed = model_.run(given, pass_);
    const at::Tensor value = channels_first(passed.captured[0], passed.axes[0]);
    runs_.push_back({noise, value.dim() > 2 ? value[0].flatten(1) : at::Tensor()});
  }
  return runs_[i];
}

Box ReceptiveFields::box(std::int64_t unit, std::int64_t place) {
  const auto [known, is_new] = known_.try_emplace({unit, place});
  Box& found = known->second;
  if (!is_new) return found;
  for (std::size_t i = 0; i < most_runs; ++i) {
    const Run& one = run(i);
    if (!one.value.defined() || !one.value.requires_grad()) return found = whole_;
    const Box before = found;
    one.noise.mutable_grad() = at::Tensor();
    one.value[unit][place].backward({}, /*retain_graph=*/true);
    const at::Tensor& gradient = one.noise.grad();
    if (gradient.defined()) found = around(found, reached(gradient));
    if (i + 1 >= fewest_runs && found == before) break;
  }
  return found;
}

}  // namespace top_activations
