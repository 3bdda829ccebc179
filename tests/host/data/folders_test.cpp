// Class folders as people have them, and the text files beside them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host/data/derived.h"
#include "host/data/folder_listing.h"
#include "host/data/image_folder.h"
#include "host/data/tensor_files.h"
#include "host/store/content_index.h"
#include "host/store/safetensors.h"
#include "tests/support/small_world.h"
#include "tests/support/temporary_folder.h"

namespace microtome::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

/// A folder with images that are told apart by their red.
class Folders : public ::testing::Test {
 protected:
  void image(const std::string& name, int red = 0) const {
    at::Tensor pixels = at::zeros({3, 4, 4}, at::kByte);
    pixels[0].fill_(red);
    write_png(path() / name, pixels);
  }
  void link(const std::string& name, const std::string& target) const {
    fs::create_directories((path() / name).parent_path());
    fs::create_symlink(target, path() / name);
  }
  std::shared_ptr<host::HostDataset> open(const std::string& classes = {}) const {
    host::ImageFolderParams params;
    params.path = "d";
    if (!classes.empty()) params.classes = classes;
    return host::open_image_folder("d", params, path());
  }
  std::string refusal(const std::string& classes = {}) const {
    try {
      open(classes);
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  }
  const fs::path& path() const { return folder_.path(); }
  TemporaryFolder folder_;
};

std::vector<std::string> ids(const host::HostDataset& data) {
  std::vector<std::string> all;
  for (std::int64_t i = 0; i < data.info().size; ++i) all.push_back(data.id(i));
  return all;
}

std::vector<std::int64_t> labels(const host::HostDataset& data) {
  std::vector<std::int64_t> all;
  for (std::int64_t i = 0; i < data.info().size; ++i)
    all.push_back(data.scalar(i, "label").as_integer());
  return all;
}

TEST_F(Folders, TheClassIsTheFolderWhereALinkStands) {
  image("pool/0.png", 50);
  image("pool/1.png", 100);
  image("full/n001/x.png", 150);
  link("d/ant/0.png", "../../pool/0.png");
  link("d/bee/1.png", (path() / "pool/1.png").string());
  link("d/cat", "../full/n001");
  link("d/dog/again.png", "../ant/0.png");
  const auto data = open();
  EXPECT_THAT(ids(*data), ElementsAre("ant/0.png", "bee/1.png", "cat/x.png", "dog/again.png"));
  EXPECT_THAT(labels(*data), ElementsAre(0, 1, 2, 3));
  const at::Tensor reds = data->load({0, 1, 2, 3}).fields.at("image").select(1, 0).amax({1, 2});
  EXPECT_TRUE(at::allclose(reds * 255, at::tensor({50.0F, 100.0F, 150.0F, 50.0F})));
  // One image in two classes is allowed, and said.
  EXPECT_THAT(data->remarks(), ElementsAre(AllOf(HasSubstr("1 image is there more than once"),
                                                 HasSubstr("\"ant/0.png\" and \"dog/again.png\""),
                                                 HasSubstr("1 stands in another folder too"))));
}

TEST_F(Folders, LinksThatLeadBackOrNowhereEnd) {
  image("d/a/1.png");
  link("d/a/up", "..");
  link("d/a/self", "self");
  link("d/a/gone.png", "/nowhere/at/all.png");
  const auto data = open();
  EXPECT_THAT(ids(*data), ElementsAre("a/1.png"));
  EXPECT_THAT(data->remarks(),
              ElementsAre(AllOf(HasSubstr("2 of 3 files are left out"),
                                HasSubstr("2 are links that lead nowhere (a/gone.png, a/self)")),
                          HasSubstr("1 link back to a folder above it is left out (a/up)")));
}

TEST_F(Folders, WhatIsLeftOutIsCountedWithItsReason) {
  image("d/a/1.png");
  image("d/a/2.PNG");
  image("d/b/3.png");
  image("d/b/.ipynb_checkpoints/3.png");
  image("d/__MACOSX/a/1.png");
  for (const char* name : {"d/a/x.webp", "d/a/y.gif", "d/b/z.webp", "d/labels.csv", "d/a/.DS_Store",
                           "d/b/Thumbs.db", "d/a/._1.png"})
    folder_.write(name, "?");
  const auto data = open();
  EXPECT_THAT(ids(*data), ElementsAre("a/1.png", "a/2.PNG", "b/3.png"));
  EXPECT_THAT(data->info().find("label")->class_names, ElementsAre("a", "b"));
  EXPECT_THAT(
      data->remarks(),
      ElementsAre(AllOf(HasSubstr("7 of 10 files are left out: "),
                        HasSubstr("4 are not JPEG or PNG (.csv, .gif, .webp)"),
                        HasSubstr("3 are hidden (a/.DS_Store, a/._1.png, b/Thumbs.db)")),
                  AllOf(HasSubstr("2 hidden folders are left out"), HasSubstr("__MACOSX"))));
}

TEST_F(Folders, WithoutAnImageTheErrorSaysWhatIsThere) {
  folder_.write("d/a/x.webp", "?");
  EXPECT_THAT(refusal(),
              AllOf(HasSubstr("holds no image"), HasSubstr("1 is not JPEG or PNG (.webp)")));
}

TEST_F(Folders, EmptyClassesKeepTheirNumbers) {
  image("d/c/1.png");
  image("d/a/1.png");
  fs::create_directories(path() / "d/b");
  folder_.write("d/d/only.webp", "?");
  fs::create_directories(path() / "d/.hidden");
  const auto data = open();
  EXPECT_THAT(data->info().find("label")->class_names, ElementsAre("a", "b", "c", "d"));
  EXPECT_THAT(labels(*data), ElementsAre(0, 2));
  EXPECT_THAT(data->remarks(),
              Contains(HasSubstr("2 of 4 classes have no image and keep their numbers (b, d)")));
}

TEST_F(Folders, OrdinaryOnesNeedNoRemark) {
  image("d/a/1.png");
  image("d/b/deep/er/2.jpg");
  const auto data = open();
  EXPECT_THAT(ids(*data), ElementsAre("a/1.png", "b/deep/er/2.jpg"));
  EXPECT_THAT(data->remarks(), IsEmpty());
}

TEST_F(Folders, NamesThatAreNotUtf8Stay) {
  image("d/caf\xE9/1.png", 10);
  image("d/caf\xE8/\"<i>\n\xFF.png", 20);
  const auto data = open();
  EXPECT_THAT(ids(*data), ElementsAre("caf\xE8/\"<i>\n\xFF.png", "caf\xE9/1.png"));
  EXPECT_THAT(labels(*data), ElementsAre(0, 1));
  EXPECT_EQ(data->load({0, 1}).fields.at("image").size(0), 2);
}

TEST_F(Folders, ClassListsAsPeopleHaveThem) {
  image("d/n01/1.png");
  image("d/n02/1.png");
  folder_.write("list.txt", "\xEF\xBB\xBFn02\ttench, Tinca  \r\n\r\nn01  \t a b \r\nn03\r\n\r\n");
  const auto data = open("list.txt");
  EXPECT_THAT(data->info().find("label")->class_names, ElementsAre("tench, Tinca", "a b", "n03"));
  EXPECT_THAT(labels(*data), ElementsAre(1, 0));
  EXPECT_THAT(data->remarks(), ElementsAre(HasSubstr("1 of 3 classes has no image")));
  folder_.write("list.txt", "n01\nn02\n\nn01\n");
  EXPECT_THAT(refusal("list.txt"), HasSubstr("has \"n01\" in line 1 and again in line 4"));
  folder_.write("list.txt", "n01 tench\nn02 shark\n");
  EXPECT_THAT(refusal("list.txt"),
              AllOf(HasSubstr("line 1 of it is \"n01 tench\""), HasSubstr("a tab")));
  folder_.write("list.txt", std::string("\xFF\xFEn\0", 4));
  EXPECT_THAT(refusal("list.txt"), HasSubstr("UTF-16"));
  folder_.write("list.txt", "\n \n");
  EXPECT_THAT(refusal("list.txt"), HasSubstr("is empty"));
  folder_.write("list.json", "{\"0\": [\"n01\", \"tench\"]}");
  EXPECT_THAT(refusal("list.json"), HasSubstr("is JSON"));
  EXPECT_THAT(refusal("absent.txt"), HasSubstr("absent.txt can't be read"));
}

TEST_F(Folders, ANameOfTwoClassesIsNotChosenBy) {
  image("d/n01/1.png");
  image("d/n02/1.png");
  folder_.write("list.txt", "n01\tcrane\nn02\tcrane\n");
  try {
    host::where("w", open("list.txt"), from_json(R"({"label": "crane"})"));
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("classes 0 and 1 are both called \"crane\""));
  }
}

/// A dataset of tensors with ids.
class TensorIds : public ::testing::Test {
 protected:
  TensorIds() {
    host::TensorFileWriter writer(folder_.path() / "x.safetensors", "x");
    writer.append(at::rand({3, 2}));
    writer.finish();
  }
  std::string refusal(const std::string& ids) const {
    folder_.write("ids.txt", ids);
    host::TensorFilesParams params;
    params.fields = from_json(R"({"x": "x.safetensors"})");
    params.ids = "ids.txt";
    try {
      const auto data = host::open_tensor_files("t", params, folder_.path());
      return data->id(0) + "," + data->id(1) + "," + data->id(2);
    } catch (const Error& error) {
      return error.what();
    }
  }
  TemporaryFolder folder_;
};

TEST_F(TensorIds, AreReadWithMarksAndLineEndsOff) {
  EXPECT_EQ(refusal("\xEF\xBB\xBF"
                    "a b\r\nc \r\nd\r\n\r\n"),
            "a b,c,d");
  EXPECT_EQ(refusal("a\nb\nc"), "a,b,c");
}

TEST_F(TensorIds, MustFit) {
  EXPECT_THAT(refusal("a\nb\n"), HasSubstr("has 2 ids for 3 samples"));
  EXPECT_THAT(refusal("a\nb\nc\nd\n"), HasSubstr("has 4 ids for 3 samples"));
  EXPECT_THAT(refusal("a\n\nc\n"), HasSubstr("an empty line, 2"));
  EXPECT_THAT(refusal("a\nb\na\n"), HasSubstr("has \"a\" in line 1 and again in line 3"));
}

TEST_F(TensorIds, LabelsInAColumnAreNumbersAndOneHotRowsAreNot) {
  const auto write = [&](const std::string& name, const at::Tensor& value) {
    host::TensorFileWriter writer(folder_.path() / (name + ".safetensors"), name);
    writer.append(value);
    writer.finish();
  };
  write("column", at::tensor({2, 0, 1}, at::kLong).unsqueeze(1));
  write("hot", at::eye(3));
  host::TensorFilesParams params;
  params.fields = from_json(R"({"column": "column.safetensors", "hot": "hot.safetensors"})");
  const auto data = host::open_tensor_files("t", params, folder_.path());
  EXPECT_TRUE(data->column("column").equal(at::tensor({2, 0, 1}, at::kLong)));
  EXPECT_EQ(host::where("w", data, from_json(R"({"column": 0})"))->id(0), "1");
  try {
    data->column("hot");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("\"hot\""), HasSubstr("N x 3"), HasSubstr("argmax")));
  }
}

TEST_F(TensorIds, LongNamesAreStoredWhole) {
  std::string name = "fc[unit=[";
  for (int i = 0; i < 3000; ++i) name += std::to_string(i) + ",";
  name += "0]]";
  const fs::path file = folder_.path() / "long.safetensors";
  const at::Tensor value = at::rand({2, 3});
  host::TensorFileWriter writer(file, name);
  writer.append(value);
  writer.finish();
  const auto stored = host::read_tensor_list(file);
  ASSERT_EQ(stored.size(), 1U);
  EXPECT_EQ(stored[0].name, name);
  EXPECT_TRUE(host::read_tensor(file, stored[0]).equal(value));
}

}  // namespace
}  // namespace microtome::testing
