#include "host/model/plan/winograd.h"

#include <gtest/gtest.h>

namespace microtome::testing {
namespace {

using host::WinogradGradient;

struct Shape {
  std::int64_t rows, in, out, height, width;
  WinogradGradient::Padding padding;
};

double largest_error(const at::Tensor& found, const at::Tensor& expected) {
  return ((found - expected).abs().max() / expected.abs().max()).item<double>();
}

class Winograd : public ::testing::TestWithParam<Shape> {};

TEST_P(Winograd, IsTheGradientOfTheConvolution) {
  at::manual_seed(3);
  const auto [rows, in, out, height, width, padding] = GetParam();
  const at::Tensor weight = at::randn({out, in, 3, 3});
  const at::Tensor gradient = at::randn({rows, out, height, width});
  const at::Tensor expected =
      at::conv_transpose2d(gradient.to(at::kDouble), weight.to(at::kDouble), {}, 1, padding);
  const WinogradGradient winograd(weight);
  const at::Tensor found = winograd(gradient, padding);
  ASSERT_EQ(found.sizes(), expected.sizes());
  EXPECT_TRUE(found.is_contiguous());
  EXPECT_LE(largest_error(found, expected), 4e-6);

  const at::Tensor last = winograd(gradient.contiguous(at::MemoryFormat::ChannelsLast), padding);
  EXPECT_TRUE(last.is_contiguous(at::MemoryFormat::ChannelsLast));
  EXPECT_TRUE(last.equal(found));
  // Neither in order nor with its channels last.
  const at::Tensor turned = gradient.transpose(2, 3).contiguous().transpose(2, 3);
  EXPECT_TRUE(winograd(turned, padding).equal(found));
  // As sums of derivatives come: one value for all.
  const at::Tensor ones = at::ones({}).expand({rows, out, height, width});
  const at::Tensor sums = at::conv_transpose2d(ones, weight, {}, 1, padding);
  EXPECT_LE(largest_error(winograd(ones, padding), sums), 4e-6);
}

// Edges that tiles of 4 x 4 meet and miss, paddings that take and give, and more tiles than go at a
// time.
INSTANTIATE_TEST_SUITE_P(
    Shapes, Winograd,
    ::testing::Values(Shape{2, 16, 16, 8, 8, {1, 1}}, Shape{3, 32, 16, 7, 9, {1, 1}},
                      Shape{1, 16, 48, 5, 13, {0, 0}}, Shape{2, 16, 32, 6, 6, {2, 2}},
                      Shape{2, 16, 16, 10, 3, {0, 2}}, Shape{1, 16, 16, 1, 1, {1, 1}},
                      Shape{1, 16, 16, 1, 2, {0, 1}}, Shape{5, 32, 32, 33, 47, {1, 1}},
                      Shape{1, 16, 16, 3, 600, {1, 0}}, Shape{9, 64, 64, 14, 14, {1, 1}}));

TEST(Winograd, NothingGivesNothing) {
  const WinogradGradient winograd(at::randn({16, 16, 3, 3}));
  EXPECT_EQ(winograd(at::zeros({2, 16, 9, 9}), {1, 1}).count_nonzero().item<std::int64_t>(), 0);
  EXPECT_EQ(winograd(at::zeros({0, 16, 9, 9}), {1, 1}).size(0), 0);
}

}  // namespace
}  // namespace microtome::testing
