#include "microtome/output_check.h"

#include <algorithm>

namespace microtome {
namespace {

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text;
  for (const std::int64_t size : shape)
    text += (text.empty() ? "" : " x ") + (size < 0 ? std::string("any") : std::to_string(size));
  return text.empty() ? "one number" : text;
}

bool fits(const std::vector<std::int64_t>& planned, const std::vector<std::int64_t>& written) {
  return planned.size() == written.size() &&
         std::equal(planned.begin(), planned.end(), written.begin(),
                    [](std::int64_t a, std::int64_t b) { return a < 0 || a == b; });
}

class Comparison {
 public:
  Comparison(const OutputPlan& plan, const WrittenOutput& written)
      : plan_(plan), written_(written) {}

  void check(std::optional<std::int64_t> samples) const {
    for (const TensorInfo& planned : plan_.tensors) check_planned(planned);
    for (const TensorInfo& tensor : written_.tensors) {
      if (tensor.per_sample && (tensor.shape.empty() || tensor.shape[0] != written_.ids))
        refuse(tensor.name, "has " + std::to_string(tensor.shape.empty() ? 0 : tensor.shape[0]) +
                                " rows for the ids of " + std::to_string(written_.ids) +
                                " samples");
    }
    if (samples && written_.ids > 0 && written_.ids != *samples)
      throw Error("the output \"" + plan_.port + "\" has rows of " + std::to_string(written_.ids) +
                  " samples, and the dataset has " + std::to_string(*samples) +
                  "; each chunk needs its rows");
    if (plan_.kind == kind::model && !written_.has_model)
      throw Error("the output \"" + plan_.port + "\" is planned as a model, and none was written");
  }

 private:
  [[noreturn]] void refuse(const std::string& tensor, const std::string& why) const {
    throw Error("the tensor \"" + tensor + "\" of the output \"" + plan_.port + "\" " + why);
  }

  void check_planned(const TensorInfo& planned) const {
    const auto found =
        std::find_if(written_.tensors.begin(), written_.tensors.end(),
                     [&](const TensorInfo& tensor) { return tensor.name == planned.name; });
    if (found == written_.tensors.end()) refuse(planned.name, "is planned and was not written");
    if (found->type != planned.type)
      refuse(planned.name, std::string("is planned as ") + c10::toString(planned.type) +
                               " and was written as " + c10::toString(found->type));
    // Without sizes nothing was known of the shape.
    if (!planned.shape.empty() && !fits(planned.shape, found->shape))
      refuse(planned.name, "is planned as " + shape_text(planned.shape) + " and was written as " +
                               shape_text(found->shape));
    if (planned.per_sample && !found->per_sample)
      refuse(planned.name, "is planned with a row for each sample, and was written without ids");
  }

  const OutputPlan& plan_;
  const WrittenOutput& written_;
};

}  // namespace

void check_output(const OutputPlan& plan, const WrittenOutput& written,
                  std::optional<std::int64_t> samples) {
  Comparison(plan, written).check(samples);
}

}  // namespace microtome
