// Boxes of receptive fields against the gradients of plain ATen, for every place of a layer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "microtome/testing/harness.h"
#include "plugins/top_activations/receptive_field.h"
#include "tests/host/model/scripted.h"

namespace microtome::testing {
namespace {

using top_activations::Box;
using top_activations::ReceptiveFields;
using Network = std::function<at::Tensor(const at::Tensor&)>;

constexpr std::int64_t height = 11, width = 13;

std::string text(const Box& box) {
  return "rows " + std::to_string(box.top) + " to " + std::to_string(box.bottom) + ", columns " +
         std::to_string(box.left) + " to " + std::to_string(box.right);
}

/// What gradients reach on one of many inputs: plain backward passes, one a place and an input.
Box reached(const Network& network, std::int64_t channels, std::int64_t unit, std::int64_t y,
            std::int64_t x, int inputs) {
  const at::AutoGradMode mode(true);
  at::Tensor any = at::zeros({height, width}, at::kBool);
  for (int i = 0; i < inputs; ++i) {
    const at::Tensor image = at::rand({1, channels, height, width}).requires_grad_();
    network(image)[0][unit][y][x].backward();
    any = any | (image.grad() != 0).flatten(0, 1).any(0);
  }
  const at::Tensor rows = any.any(1).nonzero().flatten(), columns = any.any(0).nonzero().flatten();
  if (rows.numel() == 0) return {};
  return {rows[0].item<std::int64_t>(), columns[0].item<std::int64_t>(),
          rows[-1].item<std::int64_t>() + 1, columns[-1].item<std::int64_t>() + 1};
}

void expect_boxes(const Model& model, const Network& network, std::int64_t channels, int inputs,
                  const std::string& name) {
  const at::Tensor image = at::rand({2, channels, height, width});
  ReceptiveFields fields(model, {{model.inputs()[0].name, image}}, model.inputs()[0].name,
                         parse_hook_point("output"), at::detail::createCPUGenerator(1));
  const at::Tensor value = network(image);
  for (std::int64_t unit = 0; unit < value.size(1); ++unit) {
    for (std::int64_t y = 0; y < value.size(2); ++y) {
      for (std::int64_t x = 0; x < value.size(3); ++x) {
        ASSERT_EQ(text(fields.box(unit, y * value.size(3) + x)),
                  text(reached(network, channels, unit, y, x, inputs)))
            << name << ", unit " << unit << " at " << y << ", " << x;
      }
    }
  }
}

at::Tensor kernel(std::int64_t out, std::int64_t in, std::int64_t side) {
  return at::randn({out, in, side, side});
}

TEST(ReceptiveFields, AreWhatGradientsReachAtEveryPlace) {
  at::manual_seed(3);
  const at::Tensor three = kernel(2, 2, 3), five = kernel(2, 2, 5), two = kernel(2, 2, 2);
  const at::Tensor eight = kernel(8, 2, 3);
  const std::vector<std::pair<std::string, Network>> networks = {
      {"convolution", [=](const at::Tensor& x) { return at::conv2d(x, three, {}, 1, 1); }},
      {"strided", [=](const at::Tensor& x) { return at::conv2d(x, five, {}, 2, 2); }},
      {"dilated", [=](const at::Tensor& x) { return at::conv2d(x, three, {}, 1, 2, 2); }},
      {"mean pooling",
       [=](const at::Tensor& x) { return at::avg_pool2d(at::conv2d(x, three), 3, 2, 1); }},
      {"uneven pooling",
       [](const at::Tensor& x) {
         return at::adaptive_avg_pool2d(x, {4, 5});
       }},
      {"nearest enlargement",
       [=](const at::Tensor& x) {
         return at::upsample_nearest2d(at::conv2d(x, three, {}, 2, 1), {17, 20});
       }},
      {"bilinear enlargement",
       [=](const at::Tensor& x) {
         return at::upsample_bilinear2d(at::conv2d(x, three, {}, 4, 1), {11, 13}, false);
       }},
      {"bilinear, corners aligned",
       [=](const at::Tensor& x) {
         return at::upsample_bilinear2d(at::conv2d(x, three, {}, 3, 1), {9, 10}, true);
       }},
      {"transposed convolution",
       [=](const at::Tensor& x) {
         return at::conv_transpose2d(at::conv2d(x, three, {}, 2, 1), two, {}, 2);
       }},
      {"transposed by 3 with overlap",
       [=](const at::Tensor& x) {
         return at::conv_transpose2d(at::conv2d(x, five, {}, 4, 2), five, {}, 3, 1);
       }},
      {"pixel shuffle",
       [=](const at::Tensor& x) { return at::pixel_shuffle(at::conv2d(x, eight, {}, 2, 1), 2); }},
      {"reflected border",
       [=](const at::Tensor& x) {
         return at::conv2d(at::reflection_pad2d(x, {2, 2, 2, 2}), five);
       }},
      {"places that see padding alone",
       [=](const at::Tensor& x) { return at::conv2d(x, kernel(2, 2, 1).fill_(1), {}, 2, 3); }},
      {"whole image",
       [=](const at::Tensor& x) {
         return at::conv2d(x - x.mean({2, 3}, true), three, {}, 3);
       }},
      {"units of branches",
       [=](const at::Tensor& x) {
         return at::cat({x, at::conv2d(x, five, {}, 1, 2)}, 1).slice(2, 0, 11, 5);
       }},
  };
  for (const auto& [name, network] : networks) {
    const StepModel model(at::zeros({1, 2, height, width}), {{"step", network}});
    expect_boxes(model, network, 2, 3, name);
  }
}

TEST(ReceptiveFields, SeePastReLUsAndMaximaOfSingleChannels) {
  at::manual_seed(4);
  const at::Tensor weight = at::randn({1, 1, 3, 3});
  const auto model =
      model_of(scripted("def forward(self, x):\n"
                        "  x = torch.relu(torch.conv2d(x, self.weight, None, [1, 1], [1, 1]))\n"
                        "  x = torch.max_pool2d(x, [3, 3], [2, 2], [1, 1], [1, 1], True)\n"
                        "  return torch.hardtanh(torch.conv2d(x, self.weight), 0.0, 0.01)\n",
                        {}, {{"weight", weight}}));
  // A ReLU or a maximum that lets all through has the windows of a mean.
  const Network through = [weight](const at::Tensor& x) {
    const at::Tensor wide = at::constant_pad_nd(at::conv2d(x, weight, {}, 1, 1), {1, 2, 1, 2});
    return at::conv2d(at::avg_pool2d(wide, 3, 2).slice(2, 0, 6).slice(3, 0, 7), weight);
  };
  expect_boxes(model, through, 1, 3, "ReLU, maximum, clamp");
  const auto pooled = model_of(
      scripted("def forward(self, x):\n"
               "  return torch.adaptive_max_pool2d(x, [4, 5])[0] * torch.amax(x, [2, 3], True)\n"));
  const at::Tensor image = at::rand({1, 1, height, width});
  ReceptiveFields all(pooled, {{pooled.inputs()[0].name, image}}, pooled.inputs()[0].name,
                      parse_hook_point("output"), at::detail::createCPUGenerator(1));
  EXPECT_EQ(text(all.box(0, 0)), text({0, 0, height, width}));
}

TEST(ReceptiveFields, OfALayerWithoutPlacesIsTheWholeImage) {
  const StepModel model(at::zeros({1, 2, height, width}), {{"step", [](const at::Tensor& x) {
                                                              return x.mean({2, 3});
                                                            }}});
  ReceptiveFields fields(model, {{"input", at::rand({1, 2, height, width})}}, "input",
                         parse_hook_point("output"), at::detail::createCPUGenerator(1));
  EXPECT_EQ(text(fields.box(1, 0)), text({0, 0, height, width}));
}

}  // namespace
}  // namespace microtome::testing
