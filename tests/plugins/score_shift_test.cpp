// How far a score moves when samples are changed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "microtome/testing/harness.h"
#include "plugins/evaluate/score_shift.h"

namespace microtome::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

std::shared_ptr<StepModel> linear() {
  return std::make_shared<StepModel>(
      at::zeros({1, 2}),
      std::vector<StepModel::Step>{{"score", [](const at::Tensor& x) {
                                      return at::stack({x.select(1, 0), x.select(1, 0) * 0}, 1);
                                    }}});
}

std::shared_ptr<MemoryDataset> data(const at::Tensor& x, const char* prefix = "s") {
  std::vector<std::string> ids;
  for (std::int64_t i = 0; i < x.size(0); ++i) ids.push_back(prefix + std::to_string(i));
  return std::make_shared<MemoryDataset>(ids, NamedTensors{{"input", x}});
}

Output shift(const std::shared_ptr<MemoryDataset>& plain,
             const std::shared_ptr<MemoryDataset>& changed, std::int64_t chunk = 4,
             const std::string& target = "class(0)") {
  const auto stage = make<evaluate::ScoreShift>(R"j({"target": ")j" + target + "\"}");
  return Harness()
      .model("model", linear())
      .dataset("data", plain)
      .dataset("changed", changed)
      .chunk_size(chunk)
      .run(*stage)
      .at("metrics");
}

TEST(ScoreShift, OfWhatTheScoreDoesNotSeeIsZero) {
  at::manual_seed(1);
  const at::Tensor x = at::randn({10, 2});
  at::Tensor other = x.clone();
  other.select(1, 1).add_(3);
  const Output output = shift(data(x), data(other));
  EXPECT_EQ(output.metric("absolute_shift").value, 0);
  EXPECT_EQ(output.metric("share_of_others").value, 0);
  EXPECT_GT(output.metric("absolute_shift_to_others").value, 0.1);
  EXPECT_TRUE(output.tensors.at("score").equal(x.select(1, 0)));
}

TEST(ScoreShift, OfWhatItSeesIsThatMuchAndOthersAreOthers) {
  at::manual_seed(2);
  const at::Tensor x = at::randn({9, 2});
  at::Tensor other = x.clone();
  other.select(1, 0).sub_(2);
  const Output output = shift(data(x), data(other));
  EXPECT_NEAR(output.metric("shift").value, -2, 1e-6);
  EXPECT_NEAR(output.metric("absolute_shift").value, 2, 1e-6);
  // The score of another sample for each, whatever the chunk: all values once, none its own.
  const at::Tensor others = output.tensors.at("other");
  EXPECT_TRUE(std::get<0>(others.sort()).equal(std::get<0>(x.select(1, 0).sort())));
  EXPECT_FALSE((others == x.select(1, 0)).any().item<bool>());
  EXPECT_TRUE(others.equal(shift(data(x), data(other), 9).tensors.at("other")));
}

TEST(ScoreShift, FollowsAUnitToo) {
  at::manual_seed(3);
  const at::Tensor x = at::randn({6, 2});
  const Output output = shift(data(x), data(x + 1), 4, "unit(score[unit=0])");
  EXPECT_TRUE(output.tensors.at("score").equal(x.select(1, 0)));
  EXPECT_NEAR(output.metric("shift").value, 1, 1e-6);
}

TEST(ScoreShift, SamplesThatAreNotPairedAreAnErrorThatNamesThem) {
  const at::Tensor x = at::randn({4, 2});
  EXPECT_THAT([&] { shift(data(x), data(x, "t")); }, ThrowsMessage<Error>(HasSubstr("\"t0\"")));
  EXPECT_THROW(shift(data(x), data(at::randn({3, 2}))), Error);
}

}  // namespace
}  // namespace microtome::testing
