// Masks and superpixels.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "paths/integrated_hessians.h"
#include "perturbation/ablation.h"
#include "perturbation/extremal_perturbation.h"
#include "perturbation/shapley.h"
#include "perturbation/smooth_mask.h"
#include "perturbation/superpixels.h"
#include "tests/plugins/attribution/on_network.h"

namespace microtome::testing {
namespace {

using attribution::SmoothMask;

TEST(SmoothMask, IsNothingOfNothingAndNearlyAllOfAll) {
  const SmoothMask smooth(20, 31, 4, at::TensorOptions());
  const at::Tensor none = at::zeros({2, 1, smooth.rows(), smooth.columns()});
  EXPECT_TRUE(smooth.on_map(smooth.of(none).mask).equal(at::zeros({2, 1, 20, 31})));
  const at::Tensor all = smooth.on_map(smooth.of(at::ones_like(none)).mask);
  EXPECT_LE(all.max().item<double>(), 1);
  EXPECT_GE(all.min().item<double>(), 0.9);
  // The border is hardly another place than the middle.
  EXPECT_NEAR(all[0][0][0].mean().item<double>(), all[0][0][10].mean().item<double>(), 0.03);
}

TEST(SmoothMask, OfOnePointFallsAsItsKernel) {
  const double sigma = 6;
  const SmoothMask smooth(41, 41, sigma, at::TensorOptions());
  ASSERT_EQ(smooth.rows(), 21);
  at::Tensor points = at::zeros({1, 1, 21, 21});
  points[0][0][10][10].fill_(1);
  const at::Tensor mask = smooth.on_map(smooth.of(points).mask)[0][0];
  // By hand, along a row: the only contribution that is not zero is that of the point.
  for (int distance = 0; distance <= 8; ++distance) {
    const double z = distance / sigma, kernel = std::exp(-2 * std::pow(std::max(0.0, z - 0.5), 2));
    const double value = mask[20][20 + distance].item<double>();
    EXPECT_LE(value, kernel + 1e-5);
    if (distance <= 3) {
      EXPECT_NEAR(value, 1, 1e-3);
    }
  }
  EXPECT_EQ(mask[20][40].item<double>(), 0);
  EXPECT_TRUE(at::allclose(mask, mask.t()));
  EXPECT_TRUE(at::allclose(mask, mask.flip(0)));
}

TEST(SmoothMask, DerivativeIsThatOfDifferences) {
  at::manual_seed(5);
  const SmoothMask smooth(13, 10, 4, at::TensorOptions().dtype(at::kDouble));
  const at::Tensor points = at::rand({2, 1, smooth.rows(), smooth.columns()}, at::kDouble);
  ASSERT_EQ(smooth.margin(), 4);
  const at::Tensor by_mask = at::randn({2, 1, 13 + 8, 10 + 8}, at::kDouble);
  const at::Tensor found = smooth.gradient(smooth.of(points), by_mask);
  const auto objective = [&](const at::Tensor& at) { return (smooth.of(at).mask * by_mask).sum(); };
  constexpr double step = 1e-6;
  for (std::int64_t i = 0; i < points.numel(); i += 7) {
    at::Tensor more = points.clone(), less = points.clone();
    more.view(-1)[i] += step;
    less.view(-1)[i] -= step;
    const double expected = ((objective(more) - objective(less)) / (2 * step)).item<double>();
    EXPECT_NEAR(found.reshape(-1)[i].item<double>(), expected, 1e-6 + 1e-5 * std::abs(expected));
  }
}

/// Class 0 is the mean over a quarter of the image, where there is something.
std::shared_ptr<StepModel> corner() {
  return std::make_shared<StepModel>(
      at::zeros({1, 3, 24, 24}),
      std::vector<StepModel::Step>{{"mean", [](const at::Tensor& x) {
                                      const at::Tensor part = x.slice(2, 0, 12).slice(3, 0, 12);
                                      const at::Tensor mean = part.mean({1, 2, 3});
                                      return at::stack({mean, -mean}, 1);
                                    }}});
}

Output extremal(const at::Tensor& x, const std::string& parameters, int steps = 300,
                std::int64_t chunk = 32) {
  const auto stage = make<attribution::ExtremalPerturbation>(
      R"j({"target": "class(0)", "flip": false, "sigma": 3, "area_weight": 30,
           "learning_rate": 0.1, "steps": )j" +
      std::to_string(steps) + parameters + "}");
  return Harness()
      .model("model", corner())
      .dataset("data",
               std::make_shared<MemoryDataset>(sample_names(x.size(0)), NamedTensors{{"input", x}}))
      .chunk_size(chunk)
      .run(*stage)
      .at("attributions");
}

TEST(ExtremalPerturbation, FindsThePartThatMakesTheScoreWithTheAreaThatIsAsked) {
  const at::Tensor x = at::ones({2, 3, 24, 24}) * at::tensor({1.0F, 2.0F}).view({2, 1, 1, 1});
  for (const char* game : {"preserve", "delete", "dual"}) {
    const Output output = extremal(
        x, std::string(R"j(, "hidden": "baseline", "areas": [0.2], "game": ")j") + game + "\"");
    const at::Tensor mask = output.tensors.at("attributions");
    ASSERT_EQ(mask.sizes(), (std::vector<std::int64_t>{2, 1, 24, 24})) << game;
    EXPECT_GE(mask.min().item<double>(), 0);
    EXPECT_LE(mask.max().item<double>(), 1);
    const at::Tensor inside = mask.slice(2, 0, 12).slice(3, 0, 12).sum({1, 2, 3});
    EXPECT_GE((inside / mask.sum({1, 2, 3})).min().item<double>(), 0.85) << game;
    EXPECT_LE((output.tensors.at("area") - 0.2).abs().max().item<double>(), 0.05) << game;
    // Four fifths of the quarter are there, so as much of the score; or a fifth is left.
    const at::Tensor share = output.tensors.at("perturbed_score").squeeze(1) / at::tensor({1, 2});
    const bool is_hidden = std::string(game) == "delete";
    EXPECT_LE((share - (is_hidden ? 0.25 : 0.75)).abs().max().item<double>(), 0.15) << game;
  }
}

TEST(ExtremalPerturbation, BlursUnlessABaselineIsAskedFor) {
  at::manual_seed(9);
  const at::Tensor x = at::rand({1, 3, 24, 24});
  // Of one flat colour a blur takes nothing away, so all masks are as good and the area alone
  // counts.
  const Output flat = extremal(at::ones({1, 3, 24, 24}), R"j(, "hidden": "blur")j", 20);
  EXPECT_NEAR(flat.tensors.at("perturbed_score").item<double>(),
              flat.tensors.at("score").item<double>(), 1e-5);
  EXPECT_THAT([&] { extremal(x, R"j(, "hidden": "blur", "baseline": ["black"])j"); },
              ::testing::ThrowsMessage<Error>(::testing::HasSubstr("hidden: baseline")));
}

TEST(ExtremalPerturbation, LargerAreasKeepMoreAndChunksDoNotMatter) {
  at::manual_seed(6);
  const at::Tensor x = at::rand({3, 3, 24, 24}) + 0.5;
  const Output all = extremal(x, R"j(, "hidden": "baseline", "areas": [0.05, 0.15])j", 60);
  const at::Tensor kept = all.tensors.at("perturbed_score");
  EXPECT_TRUE((kept.select(1, 1) > kept.select(1, 0)).all().item<bool>());
  const Output one_by_one =
      extremal(x, R"j(, "hidden": "baseline", "areas": [0.05, 0.15])j", 60, 1);
  EXPECT_TRUE(at::allclose(all.tensors.at("attributions"), one_by_one.tensors.at("attributions"),
                           1e-4, 1e-4));
}

TEST(Superpixels, FollowTheEdgesOfAnImage) {
  // Two halves of other colours, with a slanting edge.
  at::Tensor image = at::zeros({1, 3, 40, 60});
  const at::Tensor right = at::arange(60).unsqueeze(0) > 22 + at::arange(40).unsqueeze(1) / 3;
  image[0][0].masked_fill_(right, 0.9);
  image[0][2].masked_fill_(right.logical_not(), 0.7);
  const at::Tensor regions = attribution::superpixels(image, 10, 10);
  ASSERT_EQ(regions.sizes(), (std::vector<std::int64_t>{1, 1, 40, 60}));
  const std::int64_t count = regions.max().item<std::int64_t>() + 1;
  EXPECT_GE(count, 12);
  EXPECT_LE(count, 36);
  std::int64_t mixed = 0;
  for (std::int64_t region = 0; region < count; ++region) {
    const at::Tensor in = (regions[0][0] == region);
    const std::int64_t pixels = in.sum().item<std::int64_t>();
    EXPECT_GT(pixels, 0) << region;
    const std::int64_t on_right = in.logical_and(right).sum().item<std::int64_t>();
    mixed += std::min(on_right, pixels - on_right);
  }
  // A grid of the same size has dozens on the wrong side.
  EXPECT_LE(mixed, 5);
}

TEST(Superpixels, OfOneSampleDoNotDependOnTheOthers) {
  at::manual_seed(8);
  // One image without a structure, one with: not as many superpixels.
  const at::Tensor x = at::stack({at::full({3, 24, 24}, 0.5), at::rand({3, 24, 24})});
  const auto data = std::make_shared<MemoryDataset>(sample_names(2), NamedTensors{{"input", x}});
  data->mark_image("input");
  const at::Tensor regions = attribution::superpixels(x, 8, 10).flatten(1);
  ASSERT_NE(regions[0].max().item<std::int64_t>(), regions[1].max().item<std::int64_t>());
  const auto stage = make<attribution::ShapleySampling>(
      R"j({"target": "class(0)", "features": "slic:8", "orders": 3})j");
  const auto values = [&](std::int64_t chunk) {
    return Harness()
        .model("model", corner())
        .dataset("data", data)
        .chunk_size(chunk)
        .run(*stage)
        .at("attributions")
        .tensors.at("attributions");
  };
  EXPECT_TRUE(values(2).equal(values(1)));
  EXPECT_THAT(
      [&] {
        Harness()
            .model("model", corner())
            .dataset("data", data)
            .run(*make<attribution::IntegratedHessians>(R"j({"features": "slic:8"})j"));
      },
      ::testing::ThrowsMessage<Error>(::testing::HasSubstr("no common matrix")));
}

TEST(Superpixels, AreFeaturesOfTheImagesOfTheDataset) {
  at::manual_seed(7);
  at::Tensor x = at::zeros({2, 3, 24, 24});
  x[0].slice(2, 12, 24).fill_(1);
  x[1].slice(1, 12, 24).fill_(1);
  const auto data = std::make_shared<MemoryDataset>(sample_names(2), NamedTensors{{"input", x}});
  data->mark_image("input");
  const auto stage =
      make<attribution::FeatureAblation>(R"j({"target": "class(0)", "features": "slic:12"})j");
  const Output output =
      Harness().model("model", corner()).dataset("data", data).run(*stage).at("attributions");
  const at::Tensor values = output.tensors.at("attributions");
  // What is black at first falls by nothing, and nothing outside of the quarter counts.
  EXPECT_TRUE(values[0].slice(2, 0, 11).equal(at::zeros({3, 24, 11})));
  EXPECT_TRUE(values[1].slice(1, 0, 11).equal(at::zeros({3, 11, 24})));
  const auto plain = std::make_shared<MemoryDataset>(sample_names(2), NamedTensors{{"input", x}});
  EXPECT_THAT([&] { Harness().model("model", corner()).dataset("data", plain).run(*stage); },
              ::testing::ThrowsMessage<Error>(::testing::HasSubstr("no images")));
  for (const char* wrong : {"slic", "slic:0", "slic:8:", "slic:8:0", "slic:x"}) {
    EXPECT_THROW(
        make<attribution::FeatureAblation>(std::string(R"j({"features": ")j") + wrong + "\"}"),
        Error)
        << wrong;
  }
}

}  // namespace
}  // namespace microtome::testing
