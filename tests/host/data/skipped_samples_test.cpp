// Samples that can't be read, in a dataset and in those made from it: as if their files were not
// there.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <set>

#include "host/data/derived.h"
#include "host/data/image_folder.h"
#include "tests/support/small_world.h"

namespace microtome::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;
using Shared = std::shared_ptr<host::HostDataset>;

/// An image cut short.
void write_damaged(const std::filesystem::path& like, const std::filesystem::path& file) {
  std::ifstream stream(like, std::ios::binary);
  std::string bytes((std::istreambuf_iterator<char>(stream)), {});
  std::ofstream(file, std::ios::binary) << bytes.substr(0, bytes.size() / 2);
}

class SkippedSamples : public ::testing::Test {
 protected:
  SkippedSamples() : good_(6), bad_(6) {
    for (const std::string& name : names_)
      write_damaged(bad_.images() / "red" / "1000.png", bad_.images() / name);
  }
  Shared open(const SmallWorld& world, std::int64_t limit = 1000, std::int64_t shuffle = -1) const {
    host::ImageFolderParams params;
    params.path = "images";
    params.limit = limit;
    if (shuffle >= 0) params.shuffle = shuffle;
    params.on_bad_sample = host::ImageFolderParams::OnBadSample::skip;
    return host::open_image_folder("d", params, world.path());
  }
  /// The same samples in the same places, however they are asked for.
  static void expect_alike(const Shared& with, const Shared& without) {
    const std::int64_t size = without->info().size;
    ASSERT_EQ(with->info().size, size);
    std::vector<std::int64_t> backwards;
    for (std::int64_t i = size - 1; i >= 0; --i) backwards.push_back(i);
    const Batch a = with->load(backwards), b = without->load(backwards);
    EXPECT_EQ(a.ids, b.ids);
    EXPECT_EQ(a.positions, backwards);
    for (const auto& [name, value] : b.fields) EXPECT_TRUE(a.fields.at(name).equal(value)) << name;
    for (std::int64_t i = 0; i < size; ++i) EXPECT_EQ(with->id(i), without->id(i));
  }

  /// In the order of paths: first, two in a row in the middle, last.
  const std::vector<std::string> names_{"green/0999.png", "green/1002a.png", "green/1002b.png",
                                        "red/9999.png"};
  SmallWorld good_, bad_;
};

TEST_F(SkippedSamples, AreNotCountedNorNumberedAndAreSaid) {
  const Shared with = open(bad_), without = open(good_);
  expect_alike(with, without);
  EXPECT_TRUE(with->column("label").equal(without->column("label")));
  ASSERT_EQ(with->info().skipped.size(), names_.size());
  for (std::size_t i = 0; i < names_.size(); ++i) {
    EXPECT_EQ(with->info().skipped[i].id, names_[i]);
    EXPECT_THAT(with->info().skipped[i].why, HasSubstr(names_[i]));
  }
  EXPECT_TRUE(without->info().skipped.empty());
}

TEST_F(SkippedSamples, ALimitCountsThoseThatCanBeRead) {
  for (const std::int64_t limit : {1, 3, 4, 12})
    expect_alike(open(bad_, limit), open(good_, limit));
  // No more is decoded than it takes: the last is not looked at.
  EXPECT_EQ(open(bad_, 4)->info().skipped.size(), 3U);
}

TEST_F(SkippedSamples, AShuffledFolderLosesNothingElse) {
  const Shared with = open(bad_, 1000, 7);
  ASSERT_EQ(with->info().size, 12);
  std::set<std::string> ids;
  for (std::int64_t i = 0; i < 12; ++i) ids.insert(with->load({i}).ids.at(0));
  EXPECT_EQ(ids.size(), 12U);
}

TEST_F(SkippedSamples, DatasetsMadeFromADatasetNeverHaveThem) {
  const Shared with = open(bad_), without = open(good_);
  const auto json = [](const std::string& text) { return from_json(text); };
  expect_alike(host::where("w", with, json(R"({"label": "green"})")),
               host::where("w", without, json(R"({"label": "green"})")));
  const Value half = json(R"({"train": 0.5, "by": "label", "seed": 3})");
  expect_alike(host::split("s", with, half), host::split("s", without, half));
  expect_alike(host::draw("r", with, 5, 3, 9), host::draw("r", without, 5, 3, 9));
  EXPECT_EQ(host::split("s", with, half)->info().skipped.size(), names_.size());
  // A pair of which one half is missing is missing.
  host::ImageFolderParams params;
  params.path = "images";
  write_damaged(good_.images() / "red" / "1000.png", good_.images() / "red" / "1003.png");
  const Shared third = open(good_);
  const Shared zipped = host::zip("z", {{"clean", with}, {"other", third}});
  EXPECT_EQ(zipped->info().size, 11);
  const Batch all = zipped->load(positions_between(0, 11));
  EXPECT_TRUE(all.fields.at("clean.image").equal(all.fields.at("other.image")));
  ASSERT_EQ(zipped->info().skipped.size(), 5U);
  EXPECT_THAT(zipped->info().skipped[4].why, HasSubstr("other: "));
}

TEST_F(SkippedSamples, WithoutAnyThatCanBeReadItIsAnError) {
  for (const auto& entry : std::filesystem::recursive_directory_iterator(bad_.images())) {
    if (entry.is_regular_file()) std::ofstream(entry.path()) << "damaged";
  }
  EXPECT_THAT([&] { open(bad_); }, ThrowsMessage<Error>(AllOf(HasSubstr("none of the 16 images"),
                                                              HasSubstr("green/0999.png"))));
}

TEST_F(SkippedSamples, WhatCanNoLongerBeReadLaterIsAnErrorNotAnotherRow) {
  const Shared data = open(good_);
  std::ofstream(good_.images() / "green" / "1001.png") << "damaged";
  EXPECT_THAT([&] { data->load({0, 1, 2}); }, ThrowsMessage<Error>(HasSubstr("green/1001.png")));
}

}  // namespace
}  // namespace microtome::testing
