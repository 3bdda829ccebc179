#include "baselines/baseline.h"

#include <algorithm>
#include <cmath>

namespace attribution {

using microtome::Error;

Baseline Baseline::parse(const std::string& text) {
  const std::vector<std::string> words = {"zeros", "black", "mean_image", "mean_colour",
                                          "blur",  "noise", "field"};
  const auto colon = text.find(':');
  const std::string word = text.substr(0, colon);
  const auto found = std::find(words.begin(), words.end(), word);
  if (found == words.end())
    throw Error("\"" + text + "\" is no baseline" + microtome::suggestion(word, words));
  Baseline baseline;
  baseline.kind = static_cast<Kind>(found - words.begin());
  baseline.amount = baseline.kind == Kind::blur ? 8 : 1;
  if (baseline.kind == Kind::field) {
    if (colon == std::string::npos || colon + 1 == text.size())
      throw Error("\"" + text + "\" names no field; write field:NAME");
    baseline.field = text.substr(colon + 1);
    return baseline;
  }
  if (colon == std::string::npos) return baseline;
  if (baseline.kind != Kind::blur && baseline.kind != Kind::noise)
    throw Error("\"" + word + "\" takes no number");
  char* end = nullptr;
  const std::string number = text.substr(colon + 1);
  baseline.amount = std::strtod(number.c_str(), &end);
  if (number.empty() || *end != 0 || !(baseline.amount > 0) || baseline.amount > 1e6)
    throw Error("\"" + text + "\": \"" + number + "\" is no number above 0");
  return baseline;
}

at::Tensor blurred(const at::Tensor& images, double sigma) {
  if (sigma <= 0) return images;
  const auto radius = static_cast<std::int64_t>(std::ceil(3 * sigma));
  const at::Tensor places = at::arange(-radius, radius + 1, images.options());
  at::Tensor kernel = (-(places * places) / (2 * sigma * sigma)).exp();
  kernel = kernel / kernel.sum();
  const std::int64_t channels = images.size(1);
  const at::Tensor across = kernel.view({1, 1, 1, -1}).expand({channels, 1, 1, -1}).contiguous();
  const at::Tensor padded = at::replication_pad2d(images, {radius, radius, radius, radius});
  const std::vector<std::int64_t> stride = {1, 1}, padding = {0, 0}, dilation = {1, 1};
  const auto convolved = [&](const at::Tensor& image, const at::Tensor& weight) {
    return at::conv2d(image, weight, {}, stride, padding, dilation, channels);
  };
  return convolved(convolved(padded, across), across.transpose(2, 3).contiguous());
}

at::Tensor pixel_baseline(const Baseline& baseline, const at::Tensor& images,
                          const at::Tensor& mean_image) {
  switch (baseline.kind) {
    case Baseline::Kind::black:
      return at::zeros_like(images);
    case Baseline::Kind::mean_image:
      return mean_image.to(images.device()).unsqueeze(0).expand_as(images).contiguous();
    case Baseline::Kind::mean_colour:
      return mean_image.to(images.device())
          .mean({1, 2}, true)
          .unsqueeze(0)
          .expand_as(images)
          .contiguous();
    case Baseline::Kind::blur:
      return blurred(images, baseline.amount);
    default:
      break;
  }
  throw Error("the baseline is not made of pixels");
}

at::Tensor mean_image_of(const microtome::Dataset& data, const std::string& field) {
  constexpr std::int64_t at_once = 32;
  const std::int64_t count = std::min(data.info().size, samples_of_mean);
  at::Tensor sum;
  for (const auto& positions : microtome::chunks_of(count, at_once)) {
    const microtome::Batch batch = data.load(positions);
    const at::Tensor& images = batch.fields.at(field);
    microtome::demand_finite(images, batch.ids, "the image, of which the mean is taken,");
    const at::Tensor part = images.to(at::kDouble).sum(0);
    sum = sum.defined() ? sum + part : part;
  }
  return (sum / static_cast<double>(count)).to(at::kFloat);
}

}  // namespace attribution
