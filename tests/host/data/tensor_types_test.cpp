// The types that tensor files have, and those in which datasets give them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "host/data/conversion.h"
#include "host/data/tensor_files.h"
#include "host/store/content_index.h"
#include "host/store/npy.h"
#include "host/store/safetensors.h"
#include "tests/support/array_files.h"
#include "tests/support/temporary_folder.h"

namespace microtome::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

/// What is thrown, with nothing when nothing is.
template <class Action>
std::string message_of(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

Value json(const std::string& text) { return from_json(text); }

/// One row of two elements for each type of the format, and the values that it must read as.
struct Stored {
  std::string type, bytes;
  at::Tensor expected;
};

std::vector<Stored> stored_types() {
  const auto of = [](const char* bytes, std::size_t size) { return std::string(bytes, size); };
  return {{"F32", bytes_of(at::tensor({1.5F, -2.0F})), at::tensor({1.5F, -2.0F})},
          {"F64", bytes_of(at::tensor({1.1, -2.0})), at::tensor({1.1, -2.0})},
          // 1.5 and -2 by hand: sign, exponent, mantissa.
          {"F16", of("\x00\x3e\x00\xc0", 4), at::tensor({1.5F, -2.0F}).to(at::kHalf)},
          {"BF16", of("\xc0\x3f\x00\xc0", 4), at::tensor({1.5F, -2.0F}).to(at::kBFloat16)},
          {"I64", bytes_of(at::tensor({-3, 4}, at::kLong)), at::tensor({-3, 4}, at::kLong)},
          {"I32", bytes_of(at::tensor({-3, 4}, at::kInt)), at::tensor({-3, 4}, at::kInt)},
          {"I16", of("\xfd\xff\x04\x00", 4), at::tensor({-3, 4}, at::kShort)},
          {"I8", of("\xfd\x04", 2), at::tensor({-3, 4}, at::kChar)},
          {"U8", of("\xfd\x04", 2), at::tensor({253, 4}, at::kByte)},
          {"BOOL", of("\x01\x00", 2), at::tensor({1, 0}, at::kByte).to(at::kBool)},
          {"U16", of("\xfd\xff\x04\x00", 4), at::tensor({65533, 4}, at::kInt)},
          {"U32", of("\xfd\xff\xff\xff\x04\x00\x00\x00", 8),
           at::tensor(std::vector<std::int64_t>{4294967293, 4})},
          {"U64", of("\x00\x00\x00\x00\x01\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00", 16),
           at::tensor(std::vector<std::int64_t>{4294967296, 4})}};
}

TEST(TensorTypes, SafetensorsAreReadInAllTypesOfTheFormat) {
  const TemporaryFolder folder;
  for (const Stored& stored : stored_types()) {
    const auto file = folder.write("x.safetensors",
                                   safetensors_file({{"x", stored.type, "[1, 2]", stored.bytes}}));
    const auto tensors = host::read_tensor_list(file);
    ASSERT_EQ(tensors.size(), 1U);
    EXPECT_EQ(tensors[0].type, stored.expected.scalar_type()) << stored.type;
    const at::Tensor value = host::read_tensor(file, tensors[0], 0, 1);
    EXPECT_EQ(value.scalar_type(), stored.expected.scalar_type()) << stored.type;
    EXPECT_TRUE(value[0].equal(stored.expected)) << stored.type << value;
  }
}

TEST(TensorTypes, ATypeThatCantBeReadSpoilsItsOwnTensorAlone) {
  const TemporaryFolder folder;
  const at::Tensor x = at::randn({2, 3});
  for (const std::string type : {"F8_E4M3", "F8_E5M2", "C64", "F4", "I128"}) {
    const std::size_t bytes = type == "C64" ? 8 : 1;
    const auto file = folder.write(
        "x.safetensors", safetensors_file({{"odd", type, "[2]", std::string(2 * bytes, 1)},
                                           {"x", "F32", "[2, 3]", bytes_of(x)}}));
    host::TensorFilesParams params;
    params.fields = json(R"({"x": "x.safetensors#x"})");
    const auto data = host::open_tensor_files("d", params, folder.path());
    EXPECT_TRUE(data->load({0, 1}).fields.at("x").equal(x)) << type;
    params.fields = json(R"({"x": "x.safetensors#x", "odd": "x.safetensors#odd"})");
    EXPECT_THAT(message_of([&] { host::open_tensor_files("d", params, folder.path()); }),
                AllOf(HasSubstr("\"odd\""), HasSubstr(file.string()), HasSubstr(type),
                      HasSubstr("save it")));
  }
}

TEST(TensorTypes, ATensorOfAKnownTypeWhoseBytesAreMissingIsDamaged) {
  const TemporaryFolder folder;
  const auto file =
      folder.write("x.safetensors", safetensors_file({{"odd", "F8_E4M3", "[4]", "ab"}}));
  EXPECT_THAT(message_of([&] { host::read_tensor_list(file); }), HasSubstr("\"odd\""));
}

TEST(TensorTypes, UnsignedIntegersThatInt64LacksAreAnError) {
  const TemporaryFolder folder;
  const auto file = folder.write("x.safetensors",
                                 safetensors_file({{"x", "U64", "[1]", std::string(8, '\xff')}}));
  EXPECT_THAT(message_of([&] { host::read_tensor(file, host::read_tensor_list(file)[0]); }),
              AllOf(HasSubstr("\"x\""), HasSubstr("2^63")));
  folder.write("x.npy", npy_file("'<u8'", "(1,)", std::string(8, '\xff')));
  EXPECT_THAT(message_of([&] { host::read_npy(folder.path() / "x.npy"); }), HasSubstr("2^63"));
}

TEST(TensorTypes, NpyIsReadInEitherByteOrder) {
  const TemporaryFolder folder;
  const std::vector<std::pair<std::string, std::string>> codes = {
      {"F32", "f4"}, {"F64", "f8"}, {"F16", "f2"},  {"I64", "i8"}, {"I32", "i4"}, {"I16", "i2"},
      {"I8", "i1"},  {"U8", "u1"},  {"BOOL", "b1"}, {"U16", "u2"}, {"U32", "u4"}, {"U64", "u8"}};
  for (const Stored& stored : stored_types()) {
    const auto code = std::find_if(codes.begin(), codes.end(),
                                   [&](const auto& entry) { return entry.first == stored.type; });
    if (code == codes.end()) continue;
    const std::size_t size = stored.bytes.size() / 2;
    std::string turned = stored.bytes;
    for (std::size_t at = 0; at < turned.size(); at += size)
      std::reverse(turned.begin() + static_cast<std::ptrdiff_t>(at),
                   turned.begin() + static_cast<std::ptrdiff_t>(at + size));
    for (const bool is_big : {false, true}) {
      const char order = size == 1 ? '|' : is_big ? '>' : '<';
      const auto file =
          folder.write("x.npy", npy_file("'" + std::string(1, order) + code->second + "'", "(2,)",
                                         is_big ? turned : stored.bytes));
      const at::Tensor value = host::read_npy(file);
      EXPECT_EQ(value.scalar_type(), stored.expected.scalar_type()) << stored.type;
      EXPECT_TRUE(value.equal(stored.expected)) << stored.type << is_big << value;
    }
  }
}

TEST(TensorTypes, FortransOrderIsUndone) {
  const TemporaryFolder folder;
  const at::Tensor x = at::randn({4, 2, 3});
  const auto file =
      folder.write("x.npy", npy_file("'<f4'", "(4, 2, 3)", bytes_of(x.permute({2, 1, 0})), true));
  const at::Tensor value = host::read_npy(file);
  EXPECT_TRUE(value.equal(x));
  EXPECT_TRUE(value.is_contiguous());
}

TEST(TensorTypes, NpyOfOtherThingsThanNumbersSaysWhatToSave) {
  const TemporaryFolder folder;
  const std::vector<std::pair<std::string, std::string>> wrong = {
      {"'|O'", "Python objects"},
      {"'<U7'", "text"},
      {"'<M8[ns]'", "times"},
      {"'<c8'", "complex"},
      {"'|V2'", "bfloat16"},
      {"'<f16'", "numpy.float32"},
      {"[('a', '<f4'), ('b', '<i8', (2,))]", "records"}};
  for (const auto& [description, words] : wrong) {
    const auto file = folder.write("x.npy", npy_file(description, "(1,)", std::string(64, '\0')));
    EXPECT_THAT(message_of([&] { host::read_npy(file); }),
                AllOf(HasSubstr(file.string()), HasSubstr(words)))
        << description;
  }
}

std::shared_ptr<host::HostDataset> converted(const TemporaryFolder& folder, const std::string& code,
                                             const at::Tensor& rows, const std::string& word) {
  folder.write("x.npy", npy_file("'" + code + "'",
                                 "(" + std::to_string(rows.size(0)) + ", " +
                                     std::to_string(rows.size(1)) + ")",
                                 bytes_of(rows)));
  host::TensorFilesParams params;
  params.fields = json(R"({"x": "x.npy"})");
  params.convert = json(R"({"x": ")" + word + R"("})");
  return host::open_tensor_files("d", params, folder.path());
}

TEST(Conversions, RealNumbersAreRoundedToTheNearest) {
  const TemporaryFolder folder;
  const at::Tensor rows = at::tensor({0.1, 1.0 / 3, 1e-3, 16777217.0}, at::kDouble).view({2, 2});
  const auto data = converted(folder, "<f8", rows, "float32");
  EXPECT_EQ(data->info().fields[0].type, at::kFloat);
  const at::Tensor expected = at::tensor({0.1F, 1.0F / 3, 1e-3F, 16777216.0F}).view({2, 2});
  EXPECT_TRUE(data->load({0, 1}).fields.at("x").equal(expected));
}

TEST(Conversions, WhatIsBeyondTheTypeIsNamed) {
  const TemporaryFolder folder;
  const at::Tensor rows = at::tensor({1.0, 2.0, 3.0, 1e300}, at::kDouble).view({2, 2});
  const auto data = converted(folder, "<f8", rows, "float32");
  EXPECT_TRUE(data->load({0}).fields.at("x").equal(at::tensor({1.0F, 2.0F}).view({1, 2})));
  EXPECT_THAT(message_of([&] { data->load({1}); }),
              AllOf(HasSubstr("\"x\""), HasSubstr("sample 1"), HasSubstr("1e+300")));
}

TEST(Conversions, InfinityAndNaNStayAmongRealNumbers) {
  const host::Conversion single{at::kFloat, false};
  const double infinity = std::numeric_limits<double>::infinity();
  const at::Tensor result =
      single.apply(at::tensor({infinity, -infinity, std::nan("")}, at::kDouble));
  EXPECT_EQ(result[0].item<float>(), std::numeric_limits<float>::infinity());
  EXPECT_EQ(result[1].item<float>(), -std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(result[2].item<float>()));
}

TEST(Conversions, OnlyWholeNumbersInRangeBecomeIntegers) {
  const host::Conversion tokens{at::kLong, false}, small{at::kByte, false}, yes{at::kBool, false};
  EXPECT_TRUE(tokens.apply(at::tensor({3.0F, -7.0F})).equal(at::tensor({3, -7}, at::kLong)));
  EXPECT_THAT(message_of([&] { tokens.apply(at::tensor({3.0F, 0.5F})); }), HasSubstr("0.5"));
  EXPECT_THAT(message_of([&] { tokens.apply(at::tensor({std::nan("")})); }), HasSubstr("nan"));
  EXPECT_THAT(message_of([&] { tokens.apply(at::tensor({9.3e18}, at::kDouble)); }),
              HasSubstr("9.3e+18"));
  EXPECT_THAT(message_of([&] {
                small.apply(at::tensor({255, 256}, at::kLong));
              }),
              HasSubstr("256"));
  EXPECT_THAT(message_of([&] { yes.apply(at::tensor({0, 1, 2}, at::kLong)); }), HasSubstr("2"));
  EXPECT_TRUE(
      yes.apply(at::tensor({0, 1}, at::kLong)).equal(at::tensor({0, 1}, at::kByte).to(at::kBool)));
  const host::Conversion single{at::kFloat, false};
  EXPECT_THAT(message_of([&] {
                single.apply(at::tensor({16777216, 16777217}, at::kLong));
              }),
              HasSubstr("16777217"));
}

TEST(Conversions, PixelsAreInZeroToOne) {
  const TemporaryFolder folder;
  const at::Tensor rows = at::tensor({0, 255, 51, 128}, at::kByte).view({2, 2});
  const at::Tensor x = converted(folder, "|u1", rows, "pixels")->load({0, 1}).fields.at("x");
  EXPECT_TRUE(x.equal(at::tensor({0.0F, 1.0F, 51.0F / 255, 128.0F / 255}).view({2, 2})));
  const at::Tensor real = at::tensor({0.0F, 1.0F, 0.25F, 0.5F}).view({2, 2});
  EXPECT_TRUE(converted(folder, "<f4", real, "pixels")->load({0, 1}).fields.at("x").equal(real));
  EXPECT_THAT(message_of([&] {
                converted(folder, "<f4", real * 255, "pixels")->load({0, 1});
              }),
              HasSubstr("the value 255 is no pixel in 0..1"));
  EXPECT_THAT(message_of([&] { converted(folder, "<i8", rows.to(at::kLong), "pixels"); }),
              HasSubstr("pixels are made of uint8, or are real numbers in 0..1"));
}

TEST(Conversions, OfNoFieldOrTypeIsAMistake) {
  const TemporaryFolder folder;
  const at::Tensor rows = at::ones({2, 2});
  EXPECT_THAT(message_of([&] { converted(folder, "<f4", rows, "float23"); }),
              HasSubstr("did you mean \"float32\""));
  host::TensorFilesParams params;
  params.fields = json(R"({"rows": "x.npy"})");
  params.convert = json(R"({"row": "float32"})");
  EXPECT_THAT(message_of([&] { host::open_tensor_files("d", params, folder.path()); }),
              HasSubstr("did you mean \"rows\""));
}

TEST(Conversions, ChangeWhatADatasetIs) {
  const TemporaryFolder folder;
  const at::Tensor rows = at::ones({2, 2}, at::kDouble);
  host::ContentIndex index(folder.path() / "index");
  EXPECT_NE(converted(folder, "<f8", rows, "float32")->content_hash(index),
            converted(folder, "<f8", rows, "float64")->content_hash(index));
}

}  // namespace
}  // namespace microtome::testing
