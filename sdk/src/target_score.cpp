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

TargetScore::TargetScore(Target target, const Recording& plain, const Batch& batch,
                         at::Tensor direction, at::Tensor reference)
    : target_(std::move(target)),
      direction_(std::move(direction)),
      reference_(std::move(reference)) {
  switch (target_.what) {
    case Target::What::predicted:
      first_ = class_scores(target_, plain).argmax(1).cpu();
      break;
    case Target::What::label:
    case Target::What::loss:
      first_ = field_classes({0, "label"}, batch, class_scores(target_, plain), target_.location);
      break;
    case Target::What::class_index:
      first_ = field_classes(target_.first, batch, class_scores(target_, plain), target_.location);
      break;
    case Target::What::contrast:
      first_ = field_classes(target_.first, batch, class_scores(target_, plain), target_.location);
      second_ =
          field_classes(target_.second, batch, class_scores(target_, plain), target_.location);
      break;
    case Target::What::unit:
      break;
    case Target::What::direction:
      if (!direction_.defined()) throw Error(target_.location, "the target's direction is missing");
      break;
    case Target::What::kl:
      if (!reference_.defined()) throw Error(target_.location, "the reference scores are missing");
      break;
  }
}

std::vector<HookPoint> TargetScore::capture() const {
  return target_.hook ? std::vector<HookPoint>{*target_.hook} : std::vector<HookPoint>{};
}

TargetScore TargetScore::rows(const at::Tensor& samples) const {
  TargetScore part = *this;
  for (at::Tensor* values : {&part.first_, &part.second_, &part.reference_}) {
    if (values->defined()) *values = values->index_select(0, samples.to(values->device()));
  }
  return part;
}

at::Tensor TargetScore::score(const Recording& recording, std::int64_t repeats,
                              std::size_t offset) const {
  if (target_.what == Target::What::unit) {
    const at::Tensor& unit = recording.captured.at(offset);
    return unit.dim() == 1 ? unit : unit.flatten(1).sum(1);
  }
  if (target_.what == Target::What::direction) {
    Selector along;
    along.direction = target_.direction;
    const at::Tensor product =
        select(recording.captured.at(offset), along, recording.axes.at(offset), direction_);
    return product.dim() == 1 ? product : product.flatten(1).sum(1);
  }
  at::Tensor scores = class_scores(target_, recording);
  const bool needs_probabilities =
      target_.what == Target::What::loss || target_.what == Target::What::kl ||
      target_.on == Target::On::log_prob || target_.on == Target::On::prob;
  if (needs_probabilities && !scores.is_floating_point())
    throw Error(target_.location,
                "the model's output is of whole numbers, which no probabilities are made from");
  if (target_.what == Target::What::loss) return -pick(scores.log_softmax(1), first_, repeats);
  if (target_.what == Target::What::kl) {
    const at::Tensor reference =
        repeat_rows(reference_.to(scores.options()), repeats).log_softmax(1);
    return (reference.exp() * (reference - scores.log_softmax(1))).sum(1);
  }
  if (target_.on == Target::On::log_prob) scores = scores.log_softmax(1);
  if (target_.on == Target::On::prob) scores = scores.softmax(1);
  at::Tensor result = pick(scores, first_, repeats);
  if (target_.what == Target::What::contrast) result = result - pick(scores, second_, repeats);
  return result;
}

}  // namespace microtome
