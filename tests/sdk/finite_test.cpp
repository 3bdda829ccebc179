// What names a number that is not finite.
#include "microtome/finite.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "microtome/error.h"
#include "microtome/metric.h"
#include "microtome/testing/harness.h"

namespace microtome::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

constexpr double nan_value = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

TEST(Finite, TheFirstPlaceInTheOrderOfTheElements) {
  at::Tensor values = at::zeros({3, 2, 4});
  EXPECT_FALSE(first_not_finite(values).has_value());
  values[2][0][1] = infinity;
  values[1][1][3] = nan_value;
  values[1][1][2] = -infinity;
  const auto found = first_not_finite(values);
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->place, (std::vector<std::int64_t>{1, 1, 2}));
  EXPECT_EQ(found->value, -infinity);
  EXPECT_EQ(found->text(), "-Infinity at [1, 1, 2]");
  EXPECT_EQ(found->text(1), "-Infinity at [1, 2]");
  // The same of a view that is not contiguous.
  EXPECT_EQ(first_not_finite(values.transpose(0, 2))->place, (std::vector<std::int64_t>{1, 0, 2}));
}

TEST(Finite, IntegersTruthValuesNoElementsAndNoTensorAreFinite) {
  EXPECT_FALSE(first_not_finite(at::ones({2}, at::kLong)).has_value());
  EXPECT_FALSE(first_not_finite(at::ones({2}, at::kBool)).has_value());
  EXPECT_FALSE(first_not_finite(at::empty({0, 3})).has_value());
  EXPECT_FALSE(first_not_finite({}).has_value());
}

TEST(Finite, DemandsNameTheSampleThePlaceAndTheThing) {
  at::Tensor rows = at::zeros({2, 3});
  const std::vector<std::string> ids{"a", "b"};
  demand_finite(rows, ids, "the value");
  rows[1][2] = nan_value;
  EXPECT_THAT([&] { demand_finite(rows, ids, "the value"); },
              ThrowsMessage<Error>(AllOf(HasSubstr("sample \"b\": the value"),
                                         HasSubstr("holds a NaN"), HasSubstr("NaN at [2]"))));
  EXPECT_THAT([&] { demand_finite(rows.select(1, 2), ids, "the score"); },
              ThrowsMessage<Error>(HasSubstr("sample \"b\": the score is NaN")));
  EXPECT_THAT([&] { demand_no_nan(rows, ids, "the output"); },
              ThrowsMessage<Error>(HasSubstr("sample \"b\": the output holds NaN at [2]")));
  rows[1][2] = infinity;
  EXPECT_NO_THROW(demand_no_nan(rows, ids, "the output"));
  EXPECT_THROW(demand_finite(rows, ids, "the output"), Error);
}

TEST(Finite, AMetricThatIsNotIsRefusedByItsName) {
  Metric metric;
  metric.name = "accuracy";
  metric.value = 0.5;
  EXPECT_NO_THROW(metric.demand_finite());
  metric.details.set("layer", "conv1");
  metric.interval = Interval{0, nan_value, 0.95, ""};
  EXPECT_THAT([&] { metric.demand_finite(); },
              ThrowsMessage<Error>(AllOf(HasSubstr("\"accuracy\""), HasSubstr("conv1"),
                                         HasSubstr("upper end"), HasSubstr("NaN"))));
  metric.interval.reset();
  metric.chance = infinity;
  EXPECT_THAT([&] { metric.demand_finite(); },
              ThrowsMessage<Error>(AllOf(HasSubstr("chance"), HasSubstr("infinite"))));
  metric.chance.reset();
  metric.value = nan_value;
  EXPECT_THAT([&] { metric.demand_finite(); }, ThrowsMessage<Error>(HasSubstr("its value is NaN")));
}

TEST(Finite, RowsOfFeaturesNameTheSample) {
  Output output;
  output.ids = {"a", "b", "c"};
  output.tensors["layer"] = at::zeros({3, 2, 4});
  output.tensors["layer"][1][0][3] = nan_value;
  // The artifact as a stage reads it.
  class Reader final : public ArtifactReader {
   public:
    explicit Reader(const Output& output) : output_(output) {}
    std::string kind() const override { return kind::activations; }
    const Value& metadata() const override { return output_.metadata; }
    std::vector<TensorInfo> tensors() const override {
      return {{"layer", at::kFloat, {3, 2, 4}, true}};
    }
    at::Tensor tensor(const std::string& name) const override { return output_.tensors.at(name); }
    at::Tensor rows(const std::string& name, std::int64_t begin, std::int64_t end) const override {
      return tensor(name).slice(0, begin, end);
    }
    std::vector<std::string> sample_ids() const override { return output_.ids; }

   private:
    const Output& output_;
  };
  const Reader reader(output);
  const FeatureRows rows(reader, "");
  EXPECT_EQ(rows.read(2, 3).size(0), 2);
  EXPECT_THAT([&] { rows.read(0, 3); },
              ThrowsMessage<Error>(
                  AllOf(HasSubstr("sample \"b\""), HasSubstr("\"layer\""), HasSubstr("[0, 3]"))));
}

}  // namespace
}  // namespace microtome::testing
