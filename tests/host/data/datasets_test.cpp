// Datasets made from datasets, and tensors from files.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <set>

#include "host/data/derived.h"
#include "host/data/image_folder.h"
#include "host/data/tensor_files.h"
#include "host/store/safetensors.h"
#include "tests/support/small_world.h"

namespace microtome::testing {
namespace {

std::shared_ptr<host::HostDataset> images(const SmallWorld& world) {
  host::ImageFolderParams params;
  params.path = "images";
  return host::open_image_folder("d", params, world.path());
}

Value json(const std::string& text) { return from_json(text); }

std::set<std::string> ids(const host::HostDataset& data) {
  std::set<std::string> all;
  for (std::int64_t i = 0; i < data.info().size; ++i) all.insert(data.id(i));
  return all;
}

TEST(DerivedDatasets, WhereByNameAndByNumber) {
  const SmallWorld world(4);
  const auto red = host::where("r", images(world), json(R"({"label": "red"})"));
  EXPECT_EQ(red->info().size, 4);
  EXPECT_EQ(ids(*red), ids(*host::where("r", images(world), json(R"({"label": [1]})"))));
  EXPECT_EQ(red->load({0}).fields.at("label").item<std::int64_t>(), 1);
  EXPECT_THROW(host::where("r", images(world), json(R"({"label": "blue"})")), Error);
  EXPECT_THROW(host::where("r", images(world), json(R"({"colour": "red"})")), Error);
}

TEST(DerivedDatasets, PartsOfASplitAreDisjointAndStratified) {
  const SmallWorld world(10);
  const auto train =
      host::split("a", images(world), json(R"({"train": 0.7, "by": "label", "seed": 4})"));
  const auto test =
      host::split("b", images(world), json(R"({"test": 0.3, "by": "label", "seed": 4})"));
  const auto a = ids(*train), b = ids(*test);
  EXPECT_EQ(a.size(), 14U);
  EXPECT_EQ(b.size(), 6U);
  for (const auto& id : b) EXPECT_FALSE(a.contains(id));
  std::int64_t red = 0;
  for (std::int64_t i = 0; i < 14; ++i) red += train->scalar(i, "label").as_integer();
  EXPECT_EQ(red, 7);
  EXPECT_NE(a, ids(*host::split("a", images(world),
                                json(R"({"train": 0.7, "by": "label", "seed": 5})"))));
}

TEST(DerivedDatasets, DrawsAreRandomSets) {
  const SmallWorld world(6);
  const auto drawn = host::draw("d", images(world), 5, 20, 9);
  EXPECT_EQ(drawn->info().size, 100);
  std::set<std::set<std::string>> sets;
  for (std::int64_t time = 0; time < 20; ++time) {
    std::set<std::string> set;
    for (std::int64_t i = 0; i < 5; ++i) {
      const std::string id = drawn->id(time * 5 + i);
      set.insert(id.substr(id.find('/') + 1));
      EXPECT_EQ(drawn->scalar(time * 5 + i, "draw").as_integer(), time);
    }
    EXPECT_EQ(set.size(), 5U) << "a set repeats a sample";
    sets.insert(set);
  }
  EXPECT_GT(sets.size(), 10U);
  EXPECT_THROW(host::draw("d", images(world), 13, 1, 0), Error);
}

TEST(DerivedDatasets, ZipPairsById) {
  const SmallWorld world(4);
  const auto all = images(world);
  const auto red = host::where("r", all, json(R"({"label": "red"})"));
  const auto zipped = host::zip("z", {{"clean", all}, {"corrupted", red}});
  EXPECT_EQ(zipped->info().size, 4);
  const Batch batch = zipped->load({0, 3});
  EXPECT_TRUE(batch.fields.at("clean.image").equal(batch.fields.at("corrupted.image")));
  EXPECT_EQ(zipped->scalar(0, "clean.label").as_integer(), 1);
  EXPECT_THROW(
      host::zip("z", {{"a", red}, {"b", host::where("g", all, json(R"({"label": "green"})"))}}),
      Error);
}

TEST(TensorFiles, SafetensorsAndNpy) {
  const TemporaryFolder folder;
  const at::Tensor x = at::randn({5, 2, 3}), y = at::arange(5);
  host::TensorFileWriter writer(folder.path() / "x.safetensors", "x");
  writer.append(x.slice(0, 0, 2));
  writer.append(x.slice(0, 2, 5));
  writer.finish();
  std::string header = "{'descr': '<i8', 'fortran_order': False, 'shape': (5,), }";
  header.resize(117, ' ');
  header += '\n';
  std::string npy =
      std::string("\x93NUMPY\x01\x00", 8) + static_cast<char>(header.size()) + '\0' + header;
  npy.append(static_cast<const char*>(y.data_ptr()), 40);
  folder.write("y.npy", npy);
  host::TensorFilesParams params;
  params.fields = json(R"({"x": "x.safetensors", "label": "y.npy"})");
  const auto data = host::open_tensor_files("t", params, folder.path());
  const Batch batch = data->load({1, 4});
  EXPECT_TRUE(batch.fields.at("x").equal(at::stack({x[1], x[4]})));
  EXPECT_TRUE(batch.fields.at("label").equal(at::tensor({1, 4}, at::kLong)));
  EXPECT_TRUE(host::read_tensor(folder.path() / "x.safetensors",
                                host::read_tensor_list(folder.path() / "x.safetensors")[0], 1, 3)
                  .equal(x.slice(0, 1, 3)));

  folder.write("y.npy", npy.substr(0, npy.size() - 8));
  EXPECT_THROW(host::open_tensor_files("t", params, folder.path()), Error);
  const std::string whole = read_file(folder.path() / "x.safetensors");
  for (const std::size_t size : {std::size_t{4}, std::size_t{100}, whole.size() - 4}) {
    folder.write("cut.safetensors", whole.substr(0, size));
    EXPECT_THROW(host::read_tensor_list(folder.path() / "cut.safetensors"), Error) << size;
  }
}

}  // namespace
}  // namespace microtome::testing
