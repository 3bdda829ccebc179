#include "microtome/target_score.h"

#include <utility>

#include "microtome/class_numbers.h"
#include "output_words.h"

namespace microtome {

std::string wrong_rank(std::size_t rank) {
  return "the target needs an output of N x classes, this one has rank " + std::to_string(rank) +
         (rank == 3   ? "; say a position, such as {of: predicted, position: last}"
          : rank == 4 ? "; the sum of a class over places is unit(output[c=CLASS])"
                      : "");
}

std::string wrong_rank_at_position(std::size_t rank) {
  return "the target names a position, but the output is not N x positions x classes: it has "
         "rank " +
         std::to_string(rank);
}

namespace {

/// The output as rows x classes.
at::Tensor class_scores(const Target& target, const Recording& recording) {
  at::Tensor output = recording.output(target.output);
  if (target.position) {
    if (output.dim() != 3)
      throw Error(target.location, wrong_rank_at_position(static_cast<std::size_t>(output.dim())));
    output = output.select(1, *target.position);
  }
  if (output.dim() != 2)
    throw Error(target.location, wrong_rank(static_cast<std::size_t>(output.dim())));
  return output;
}

at::Tensor field_classes(const ClassReference& reference, const Batch& batch,
                         const at::Tensor& scores, const Location& location) {
  at::Tensor classes;
  if (reference.field.empty()) {
    classes = at::full({scores.size(0)}, reference.index, at::kLong);
  } else {
    try {
      classes = class_numbers(batch.fields.at(reference.field), reference.field);
    } catch (const Error& error) {
      throw Error(location, error.what());
    }
  }
  if (classes.numel() > 0 && (classes.max().item<std::int64_t>() >= scores.size(1) ||
                              classes.min().item<std::int64_t>() < 0)) {
    const std::int64_t smallest = classes.min().item<std::int64_t>();
    const std::int64_t wrong = smallest < 0 ? smallest : classes.max().item<std::int64_t>();
    throw Error(location, "class " + std::to_string(wrong) + " is out of range: the output has " +
                              std::to_string(scores.size(1)) + " classes");
  }
  return classes;
}

at::Tensor repeat_rows(const at::Tensor& rows, std::int64_t repeats) {
  return repeats == 1 ? rows : rows.repeat_interleave(repeats, 0);
}

at::Tensor pick(const at::Tensor& scores, const at::Tensor& classes, std::int64_t repeats) {
  const at::Tensor index = repeat_rows(classes, repeats).to(scores.device()).unsqueeze(1);
  return scores.gather(1, index).squeeze(1);
}

}  // namespace

struct TargetScore::Parts {
  Target target;
  at::Tensor first, second;  ///< classes, [N] int64
  at::Tensor direction, reference;
};

TargetScore::TargetScore(std::shared_ptr<const Parts> parts) : parts_(std::move(parts)) {}

TargetScore::TargetScore(Target target, const Recording& plain, const Batch& batch,
                         at::Tensor direction, at::Tensor reference) {
  auto parts = std::make_shared<Parts>(
      Parts{std::move(target), {}, {}, std::move(direction), std::move(reference)});
  const Target& wanted = parts->target;
  const auto classes_of = [&](const ClassReference& reference) {
    return field_classes(reference, batch, class_scores(wanted, plain), wanted.location);
  };
  switch (wanted.what) {
    case Target::What::predicted:
      parts->first = class_scores(wanted, plain).argmax(1).cpu();
      break;
    case Target::What::label:
    case Target::What::loss:
      parts->first = classes_of({0, "label"});
      break;
    case Target::What::class_index:
      parts->first = classes_of(wanted.first);
      break;
    case Target::What::contrast:
      parts->first = classes_of(wanted.first);
      parts->second = classes_of(wanted.second);
      break;
    case Target::What::unit:
      break;
    case Target::What::direction:
      if (!parts->direction.defined())
        throw Error(wanted.location, "the target's direction is missing");
      break;
    case Target::What::kl:
      if (!parts->reference.defined())
        throw Error(wanted.location, "the reference scores are missing");
      break;
  }
  parts_ = std::move(parts);
}

const Target& TargetScore::target() const { return parts_->target; }

const at::Tensor& TargetScore::classes() const { return parts_->first; }

std::vector<HookPoint> TargetScore::capture() const {
  const std::optional<HookPoint>& hook = parts_->target.hook;
  return hook ? std::vector<HookPoint>{*hook} : std::vector<HookPoint>{};
}

TargetScore TargetScore::rows(const at::Tensor& samples) const {
  auto some = std::make_shared<Parts>(*parts_);
  for (at::Tensor* values : {&some->first, &some->second, &some->reference}) {
    if (values->defined()) *values = values->index_select(0, samples.to(values->device()));
  }
  return TargetScore(std::shared_ptr<const Parts>(std::move(some)));
}

at::Tensor TargetScore::score(const Recording& recording, std::int64_t repeats,
                              std::size_t offset) const {
  if (parts_->target.what == Target::What::unit) {
    const at::Tensor& unit = recording.captured.at(offset);
    return unit.dim() == 1 ? unit : unit.flatten(1).sum(1);
  }
  if (parts_->target.what == Target::What::direction) {
    Selector along;
    along.direction = parts_->target.direction;
    const at::Tensor product =
        select(recording.captured.at(offset), along, recording.axes.at(offset), parts_->direction);
    return product.dim() == 1 ? product : product.flatten(1).sum(1);
  }
  at::Tensor scores = class_scores(parts_->target, recording);
  const bool needs_probabilities =
      parts_->target.what == Target::What::loss || parts_->target.what == Target::What::kl ||
      parts_->target.on == Target::On::log_prob || parts_->target.on == Target::On::prob;
  if (needs_probabilities && !scores.is_floating_point())
    throw Error(parts_->target.location,
                "the model's output is of whole numbers, which no probabilities are made from");
  if (parts_->target.what == Target::What::loss)
    return -pick(scores.log_softmax(1), parts_->first, repeats);
  if (parts_->target.what == Target::What::kl) {
    const at::Tensor reference =
        repeat_rows(parts_->reference.to(scores.options()), repeats).log_softmax(1);
    return (reference.exp() * (reference - scores.log_softmax(1))).sum(1);
  }
  if (parts_->target.on == Target::On::log_prob) scores = scores.log_softmax(1);
  if (parts_->target.on == Target::On::prob) scores = scores.softmax(1);
  at::Tensor result = pick(scores, parts_->first, repeats);
  if (parts_->target.what == Target::What::contrast)
    result = result - pick(scores, parts_->second, repeats);
  return result;
}

}  // namespace microtome
