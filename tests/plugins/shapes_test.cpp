#include "plugins/shapes/shapes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "microtome/testing/harness.h"
#include "plugins/shapes/painter.h"

namespace microtome::testing {
namespace {

std::shared_ptr<const Dataset> open(const std::string& parameters) {
  const auto stage = make<shapes::Shapes>(parameters);
  return static_cast<DatasetSource*>(stage->capability(DatasetSource::capability_id))->open();
}

Batch all(const Dataset& data) {
  std::vector<std::int64_t> positions(static_cast<std::size_t>(data.info().size));
  std::iota(positions.begin(), positions.end(), 0);
  return data.load(positions);
}

TEST(Shapes, ASampleDependsOnItsPositionAlone) {
  const auto data = open(R"({"samples": 20, "size": 24})");
  const Batch together = all(*data);
  for (const std::int64_t i : {0, 7, 19}) {
    const Batch one = data->load({i});
    for (const auto& [name, value] : one.fields)
      EXPECT_TRUE(value[0].equal(together.fields.at(name)[i])) << name;
  }
  EXPECT_FALSE(together.fields.at("image").equal(
      all(*open(R"({"samples": 20, "size": 24, "seed": 1})")).fields.at("image")));
  EXPECT_TRUE(data->column("label").equal(together.fields.at("label")));
}

TEST(Shapes, FieldsSayWhatIsInTheImage) {
  const auto data = open(R"({"samples": 400, "size": 32, "label": ["shape", "colour"]})");
  const Batch batch = all(*data);
  EXPECT_TRUE(batch.fields.at("label").equal(batch.fields.at("factor.shape") * 4 +
                                             batch.fields.at("factor.colour")));
  EXPECT_EQ(data->info().find("label")->class_names.at(6), "square blue");
  const at::Tensor images = batch.fields.at("image"), masks = batch.fields.at("mask");
  EXPECT_GE(images.min().item<float>(), 0);
  EXPECT_LE(images.max().item<float>(), 1);
  // The colour of an object is that of its pixels; every factor takes all of its values.
  for (std::int64_t i = 0; i < 50; ++i) {
    const at::Tensor colour = images[i].masked_select(masks[i].expand({3, 32, 32})).view({3, -1});
    const at::Tensor mean = colour.mean(1);
    const auto named = batch.fields.at("factor.colour")[i].item<std::int64_t>();
    if (named < 3) {
      EXPECT_EQ(mean.argmax().item<std::int64_t>(), named) << i;
    }
  }
  for (const shapes::Factor& factor : shapes::factors()) {
    const at::Tensor counts = at::bincount(batch.fields.at("factor." + std::string(factor.name)));
    EXPECT_EQ(counts.numel(), static_cast<std::int64_t>(factor.values.size()));
    EXPECT_GT(counts.min().item<std::int64_t>(), 200 / counts.numel());
  }
}

TEST(Shapes, AChangedFactorIsAllThatChanges) {
  const std::string common =
      R"("samples": 60, "size": 32, "label": ["shape"], "follows": ["texture"])";
  const Batch before = all(*open("{" + common + "}"));
  const Batch after = all(*open("{" + common + R"(, "changed": "texture"})"));
  EXPECT_EQ(before.ids, after.ids);
  for (const shapes::Factor& factor : shapes::factors()) {
    const std::string field = "factor." + std::string(factor.name);
    const at::Tensor same = before.fields.at(field) == after.fields.at(field);
    EXPECT_EQ(same.any().item<bool>(), std::string(factor.name) != "texture") << field;
    EXPECT_EQ(same.all().item<bool>(), std::string(factor.name) != "texture") << field;
  }
  const at::Tensor outside = before.fields.at("mask").logical_not().unsqueeze(1);
  EXPECT_TRUE((before.fields.at("image") * outside).equal(after.fields.at("image") * outside));
  EXPECT_FALSE(before.fields.at("image").equal(after.fields.at("image")));
}

TEST(Shapes, FollowersAgreeAsOftenAsIsSaid) {
  const auto agreement = [](const std::string& share) {
    const auto data =
        open(R"({"samples": 2000, "label": ["shape"], "follows": ["texture"], "agreement": )" +
             share + "}");
    const at::Tensor same = data->column("factor.shape") == data->column("factor.texture");
    return same.to(at::kDouble).mean().item<double>();
  };
  EXPECT_EQ(agreement("1"), 1);
  EXPECT_NEAR(agreement("0.8"), 0.85, 0.03);  // a quarter of the rest agrees by chance
  EXPECT_NEAR(agreement("0"), 0.25, 0.03);
}

TEST(Shapes, ShapesHaveOneArea) {
  double areas[4] = {};
  for (std::int64_t shape = 0; shape < 4; ++shape) {
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
      areas[shape] += shapes::paint({shape, 0, 0, 0, 4, 0}, 96, seed).mask.sum().item().toDouble();
    }
  }
  for (const double area : areas) EXPECT_NEAR(area / areas[0], 1, 0.03);
}

TEST(Shapes, RefusesUnknownFactors) {
  EXPECT_THROW(open(R"({"label": ["sahpe"]})"), Error);
  EXPECT_THROW(open(R"({"label": ["shape"], "follows": ["shape"]})"), Error);
}

}  // namespace
}  // namespace microtome::testing
