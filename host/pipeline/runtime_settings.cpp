#include "host/pipeline/runtime_settings.h"

#include <algorithm>

namespace microtome::host {

void RuntimeSettings::describe(StageSpec<RuntimeSettings>& spec) {
  spec.summary("What can change a bit and is for the whole run.");
  spec.parameter("chunk", &RuntimeSettings::chunk)
      .range(1, 100000)
      .unit("samples")
      .doc(
          "samples that are read, computed and written together; auto: an eighth of the dataset, "
          "32 at most, so that a few samples do not leave all but one of the cores idle, and no "
          "more than `memory` holds where a stage runs the model itself");
  spec.parameter("threads", &RuntimeSettings::threads)
      .range(1, 1024)
      .doc("threads inside of one operator");
  spec.parameter("memory", &RuntimeSettings::memory)
      .range(1, 1e7)
      .unit("MiB")
      .doc(
          "what a model's values may take while a chunk is computed; a chunk that needs more goes "
          "through the model in parts; where a stage runs the model itself (with gradients, or "
          "changed many times), the chunk is made smaller, unless `chunk` says how large it is. "
          "The estimate comes from the network, never from the machine; `microtome check` prints "
          "it");
  spec.parameter("fold_constants", &RuntimeSettings::fold_constants)
      .doc("what depends on no input is computed once; the same bits");
  spec.parameter("fold_batch_norm", &RuntimeSettings::fold_batch_norm)
      .doc(
          "into the convolution before it, where that value is not hooked; auto: for stages that "
          "take no gradients, as a rounding decides at a ReLU where a gradient goes. Unless it is "
          "false, batch norms that stay go back by one multiplication");
  spec.parameter("pool_before_relu", &RuntimeSettings::pool_before_relu)
      .doc(
          "a ReLU before max pooling is computed after it, of fewer values, where the value "
          "between is not hooked; the same bits");
  spec.parameter("channels_last", &RuntimeSettings::channels_last)
      .doc(
          "convolutions compute with the channels last in memory; auto: for stages that take no "
          "gradients, as for fold_batch_norm; for others max pooling alone does, to the same bits");
  spec.parameter("in_place", &RuntimeSettings::in_place)
      .doc("results take the memory of arguments that nobody else reads; the same bits");
  spec.parameter("equal_rows_once", &RuntimeSettings::equal_rows_once)
      .doc(
          "what an edit makes the same for all samples (a value set to zero), and what is computed "
          "from that alone, is computed on one of them, where no gradient is taken; an operator "
          "may round otherwise on one row than on many");
  spec.parameter("affine_prefix", &RuntimeSettings::affine_prefix)
      .doc(
          "gradients along a straight path (integrated gradients) are summed behind what is affine "
          "at the beginning of a network (a first convolution and its batch norm) and go back "
          "through it once; values stay the same bits");
  spec.parameter("winograd_gradients", &RuntimeSettings::winograd_gradients)
      .doc(
          "gradients go back through convolutions of 3 x 3 and stride 1, from 64 channels on, by "
          "Winograd's minimal filtering, a quarter of the products. Values stay the same bits; "
          "each "
          "rounds gradients to some 2e-6 of the largest one, also where they would be exactly 0, "
          "outside of a unit's receptive field say. Takes four times the memory of the weights. On "
          "the "
          "CPU, in float32");
  spec.parameter("precision", &RuntimeSettings::precision)
      .choices({"float32", "bfloat16", "float16"})
      .doc("of values inside of the model, for stages that say that they tolerate it");
}

Value RuntimeSettings::canonical(const Value& said) {
  StageSpec<RuntimeSettings> spec;
  describe(spec);
  return canonical_parameters(spec.description(), said);
}

std::int64_t RuntimeSettings::chunk_of(std::int64_t samples) const {
  constexpr std::int64_t chunks = 8, most = 32;
  if (const auto* said = std::get_if<std::int64_t>(&chunk))
    return samples == 0 ? *said : std::min(*said, samples);
  return samples == 0 ? most : std::clamp<std::int64_t>((samples + chunks - 1) / chunks, 1, most);
}

PlanSettings RuntimeSettings::plan(const Plan& stage) const {
  // Left to us, what rounds otherwise is for stages without gradients.
  const auto is_on = [&](const Automatic<bool>& setting) {
    const bool* said = std::get_if<bool>(&setting);
    return said != nullptr ? *said : !stage.gradients;
  };
  PlanSettings settings;
  settings.fold_constants = fold_constants && !stage.any_hook;
  settings.fold_batch_norm = is_on(fold_batch_norm) && !stage.any_hook;
  settings.pool_before_relu = pool_before_relu && !stage.any_hook;
  settings.channels_last = is_on(channels_last);
  settings.in_place = in_place;
  settings.equal_rows_once = equal_rows_once;
  settings.affine_prefix = affine_prefix;
  settings.winograd_gradients = winograd_gradients;
  // What changes no value, unless all of it is turned off.
  const auto is_allowed = [](const Automatic<bool>& setting) {
    const bool* said = std::get_if<bool>(&setting);
    return said == nullptr || *said;
  };
  settings.pool_channels_last = is_allowed(channels_last);
  settings.batch_norm_gradients = is_allowed(fold_batch_norm);
  if (stage.tolerates_reduced_precision && precision != Precision::float32)
    settings.precision = precision == Precision::bfloat16 ? at::kBFloat16 : at::kHalf;
  return settings;
}

}  // namespace microtome::host
