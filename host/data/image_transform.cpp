#include "host/data/image_transform.h"

#include <algorithm>
#include <cmath>

namespace microtome::host {

namespace {

/// ITU-R 601 luma in 16 bits behind the point, as Pillow has it.
at::Tensor grey(const at::Tensor& image) {
  const at::Tensor colours = image.to(at::kInt);
  return at::floor_divide(colours[0] * 19595 + colours[1] * 38470 + colours[2] * 7471 + (1 << 15),
                          1 << 16)
      .unsqueeze(0);
}

}  // namespace

Value ImageTransform::to_value() const {
  Value value = Value::map();
  if (channels != 3) value.set("channels", channels);
  value.set("resize", ParameterType<std::vector<std::int64_t>>::write(resize));
  value.set("crop", ParameterType<std::optional<std::int64_t>>::write(crop));
  Value normalize = Value::map();
  normalize.set("mean", ParameterType<std::vector<double>>::write(mean));
  normalize.set("std", ParameterType<std::vector<double>>::write(std));
  if (normalises()) value.set("normalize", std::move(normalize));
  return value;
}

at::Tensor apply(const ImageTransform& transform, const at::Tensor& image) {
  at::Tensor pixels = (transform.channels == 1 ? grey(image) : image).to(at::kFloat);
  if (!transform.resize.empty()) {
    std::int64_t height = image.size(1), width = image.size(2);
    if (transform.resize.size() == 2) {
      height = transform.resize[0];
      width = transform.resize[1];
    } else {
      const std::int64_t side = transform.resize[0];
      // The long side is cut to a whole number, as torchvision does.
      if (width <= height) {
        height = side * height / width;
        width = side;
      } else {
        width = side * width / height;
        height = side;
      }
    }
    if (height != image.size(1) || width != image.size(2)) {
      pixels = at::_upsample_bilinear2d_aa(pixels.unsqueeze(0), {height, width}, false)
                   .squeeze(0)
                   .round()
                   .clamp(0, 255);
    }
  }
  if (transform.crop) {
    const std::int64_t side = *transform.crop, height = pixels.size(1), width = pixels.size(2);
    if (side > height || side > width) {
      throw Error("the crop of " + std::to_string(side) + " is larger than the image (" +
                  std::to_string(width) + " x " + std::to_string(height) + "); resize it first");
    }
    const auto start = [&](std::int64_t size) {
      return static_cast<std::int64_t>(std::nearbyint(static_cast<double>(size - side) / 2.0));
    };
    pixels = pixels.slice(1, start(height), start(height) + side)
                 .slice(2, start(width), start(width) + side);
  }
  pixels = pixels / 255.0F;
  if (transform.normalises()) {
    pixels = (pixels - at::tensor(transform.mean, at::kFloat).view({-1, 1, 1})) /
             at::tensor(transform.std, at::kFloat).view({-1, 1, 1});
  }
  return pixels.contiguous();
}

}  // namespace microtome::host

namespace microtome {
namespace {

void check_keys(const Value& map, const std::vector<std::string>& known, const std::string& what,
                Problems& problems) {
  for (const auto& entry : map.as_map()) {
    if (std::find(known.begin(), known.end(), entry.key) == known.end()) {
      problems.add(entry.key_location,
                   "unknown key \"" + entry.key + "\" in " + what + suggestion(entry.key, known));
    }
  }
}

}  // namespace

Value ParameterType<host::ImageTransform>::schema() {
  Value properties, counts = Value::list();
  counts.push_back(1);
  counts.push_back(3);
  Value channels;
  channels.set("enum", std::move(counts));
  properties.set("channels", std::move(channels));
  properties.set("resize", ParameterType<std::vector<std::int64_t>>::schema());
  properties.set("crop", ParameterType<std::int64_t>::schema());
  Value object;
  object.set("type", "object");
  properties.set("normalize", object);
  object.set("properties", std::move(properties));
  return object;
}

host::ImageTransform ParameterType<host::ImageTransform>::read(const Value& value,
                                                               ReadContext& context) {
  check_keys(value, {"channels", "resize", "crop", "normalize"}, "transform", context.problems);
  host::ImageTransform transform;
  const auto check_side = [&](const Value& from, std::int64_t side) {
    if (side < 1 || side > 16384)
      throw Error(from.location(), "a side must be from 1 to 16384, not " + std::to_string(side));
  };
  if (const Value* channels = value.find("channels")) {
    transform.channels = ParameterType<std::int64_t>::read(*channels, context);
    if (transform.channels != 1 && transform.channels != 3)
      throw Error(channels->location(), "channels is 3 for RGB or 1 for grey");
  }
  if (const Value* resize = value.find("resize")) {
    transform.resize = ParameterType<std::vector<std::int64_t>>::read(*resize, context);
    for (const std::int64_t side : transform.resize) check_side(*resize, side);
    if (transform.resize.empty() || transform.resize.size() > 2) {
      throw Error(resize->location(), "resize is the short side, or [height, width]");
    }
  }
  if (const Value* crop = value.find("crop")) {
    transform.crop = ParameterType<std::int64_t>::read(*crop, context);
    check_side(*crop, *transform.crop);
  }
  if (const Value* normalize = value.find("normalize")) {
    check_keys(*normalize, {"mean", "std"}, "normalize", context.problems);
    transform.mean = ParameterType<std::vector<double>>::read(normalize->at("mean"), context);
    transform.std = ParameterType<std::vector<double>>::read(normalize->at("std"), context);
    const auto count = static_cast<std::size_t>(transform.channels);
    if (transform.mean.size() != count || transform.std.size() != count) {
      throw Error(normalize->location(),
                  count == 3 ? "mean and std need three numbers each"
                             : "mean and std need one number each, as channels is 1");
    }
    for (const double std : transform.std) {
      if (std <= 0) throw Error(normalize->location(), "std must be above 0");
    }
  }
  return transform;
}

}  // namespace microtome
