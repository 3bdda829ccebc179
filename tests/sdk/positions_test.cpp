// Positions of samples, in chunks and as donors.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "microtome/testing/harness.h"

namespace microtome::testing {
namespace {

TEST(Positions, ChunksHoldEachOnceInOrder) {
  EXPECT_EQ(positions_between(2, 5), (std::vector<std::int64_t>{2, 3, 4}));
  EXPECT_TRUE(positions_between(5, 2).empty());
  const auto chunks = chunks_of(7, 3);
  ASSERT_EQ(chunks.size(), 3U);
  EXPECT_EQ(chunks[0], (std::vector<std::int64_t>{0, 1, 2}));
  EXPECT_EQ(chunks[2], (std::vector<std::int64_t>{6}));
  EXPECT_TRUE(chunks_of(0, 3).empty());
}

TEST(Positions, DonorsAreEachAnotherOneOnce) {
  for (const std::int64_t size : {2, 3, 10, 101}) {
    const auto donors = random_donors(size, at::detail::createCPUGenerator(size));
    const std::set<std::int64_t> once(donors.begin(), donors.end());
    EXPECT_EQ(static_cast<std::int64_t>(once.size()), size);
    EXPECT_EQ(*once.begin(), 0);
    EXPECT_EQ(*once.rbegin(), size - 1);
    for (std::int64_t i = 0; i < size; ++i) EXPECT_NE(donors[static_cast<std::size_t>(i)], i);
  }
  EXPECT_THROW(random_donors(1, at::detail::createCPUGenerator(1)), Error);
}

TEST(Positions, ABatchSaysWhereEachRowIsFrom) {
  const MemoryDataset data({"a", "b", "c"}, {{"x", at::arange(3)}});
  const Batch batch = data.load({2, 0});
  EXPECT_EQ(batch.positions, (std::vector<std::int64_t>{2, 0}));
  EXPECT_EQ(batch.ids, (std::vector<std::string>{"c", "a"}));
  EXPECT_EQ(batch.position(0), 2);
}

TEST(Positions, TheImagesShownAreThoseThatTheModelSees) {
  const at::Tensor clean = at::rand({2, 3, 4, 4}), changed = at::rand({2, 3, 4, 4});
  MemoryDataset data({"a", "b"},
                     {{"clean", clean}, {"changed", changed}, {"label", at::ones({2})}});
  EXPECT_EQ(shown_images(data.info(), data.load({0, 1}), {}), nullptr);
  data.mark_image("clean");
  data.mark_image("changed");
  const Batch batch = data.load({1, 0});
  EXPECT_EQ(shown_images(data.info(), batch, {})->name, "clean");
  EXPECT_EQ(shown_images(data.info(), batch, {{"x", batch.fields.at("changed")}})->name, "changed");
}

}  // namespace
}  // namespace microtome::testing
