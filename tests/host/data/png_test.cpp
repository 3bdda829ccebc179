// PNG files of all kinds: the values that are stored, whatever else the file says of colour.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host/data/image_decoder.h"
#include "host/data/image_transform.h"
#include "tests/host/data/orientations.h"
#include "tests/support/png_file.h"
#include "tests/support/temporary_folder.h"

namespace microtome::testing {
namespace {

using ::testing::HasSubstr;

at::Tensor noise(std::int64_t channels, std::int64_t height = 5, std::int64_t width = 7) {
  return at::randint(0, 256, {channels, height, width}).to(at::kByte);
}

at::Tensor decoded(const PngFile& file) {
  const TemporaryFolder folder;
  return host::decode_image(folder.write("image.png", file.bytes()));
}

at::Tensor in_all_channels(const at::Tensor& grey) {
  return grey.expand({3, grey.size(-2), grey.size(-1)});
}

std::string bytes_of(std::initializer_list<int> values) {
  std::string bytes;
  for (const int value : values) bytes += static_cast<char>(value);
  return bytes;
}

TEST(Png, ValuesAreThoseStoredWhateverTheFileSaysOfColour) {
  const at::Tensor image = noise(3);
  PngFile file = png_of(image, 2);
  for (const auto& chunk : std::vector<std::pair<std::string, std::string>>{
           {"gAMA", bytes_of({0, 1, 0x86, 0xA0})},  // 1.0
           {"gAMA", bytes_of({0, 0, 0xD9, 0x03})},  // 1 / 1.8
           {"sRGB", bytes_of({0})},
           {"cHRM", std::string(32, '\x10')},
           {"iCCP", "name" + std::string(2, '\0') + "broken"},
           {"sBIT", bytes_of({5, 6, 5})},
           {"bKGD", std::string(6, '\x01')}}) {
    file.before = {chunk};
    EXPECT_TRUE(decoded(file).equal(image)) << chunk.first;
  }
}

TEST(Png, AlphaAndTransparentColoursAreDropped) {
  const at::Tensor colour = noise(4), grey = noise(2);
  EXPECT_TRUE(decoded(png_of(colour, 6)).equal(colour.slice(0, 0, 3)));
  EXPECT_TRUE(decoded(png_of(grey, 4)).equal(in_all_channels(grey[0])));
  PngFile keyed = png_of(colour.slice(0, 0, 3), 2);
  keyed.before = {{"tRNS", std::string(6, '\x07')}};
  EXPECT_TRUE(decoded(keyed).equal(colour.slice(0, 0, 3)));
  PngFile keyed_grey = png_of(grey.slice(0, 0, 1), 0);
  keyed_grey.before = {{"tRNS", bytes_of({0, 9})}};
  EXPECT_TRUE(decoded(keyed_grey).equal(in_all_channels(grey[0])));
}

TEST(Png, PalettesAndFewBits) {
  PngFile palette;
  palette.width = 4;
  palette.height = 1;
  palette.colour = 3;
  palette.depth = 2;
  palette.rows = {bytes_of({0b00'01'10'11})};
  palette.before = {{"PLTE", bytes_of({1, 2, 3, 10, 20, 30, 100, 110, 120, 255, 254, 253})},
                    {"tRNS", bytes_of({0, 128})}};
  const at::Tensor colours =
      at::tensor({1, 10, 100, 255, 2, 20, 110, 254, 3, 30, 120, 253}).view({3, 1, 4});
  EXPECT_TRUE(decoded(palette).equal(colours.to(at::kByte)));
  for (const int depth : {1, 2, 4}) {
    PngFile grey;
    grey.width = static_cast<std::uint32_t>(8 / depth);
    grey.height = 1;
    grey.colour = 0;
    grey.depth = depth;
    grey.rows = {bytes_of({0b10'01'11'00})};
    const int most = (1 << depth) - 1;
    std::vector<std::int64_t> expected;
    for (int shift = 8 - depth; shift >= 0; shift -= depth)
      expected.push_back((0b10'01'11'00 >> shift & most) * 255 / most);
    EXPECT_TRUE(
        decoded(grey).equal(in_all_channels(at::tensor(expected).view({1, -1}).to(at::kByte))))
        << depth;
  }
}

TEST(Png, SixteenBitsAreScaledAndRounded) {
  std::vector<int> values = {0,     1,     127,   128,   129,   256,  257,
                             32767, 32768, 65279, 65406, 65407, 65535};
  for (int i = 0; i < 300; ++i) values.push_back(i * 218);
  PngFile file;
  file.width = static_cast<std::uint32_t>(values.size());
  file.height = 1;
  file.colour = 0;
  file.depth = 16;
  file.rows = {""};
  std::vector<std::int64_t> expected;
  for (const int value : values) {
    file.rows[0] += bytes_of({value >> 8, value & 255});
    expected.push_back((value * 255 + 32767) / 65535);
  }
  EXPECT_TRUE(
      decoded(file).equal(in_all_channels(at::tensor(expected).view({1, -1}).to(at::kByte))));
}

TEST(Png, ExifOrientationStandsUprightAsThatOfJpeg) {
  const at::Tensor image = noise(3);
  const auto upright = upright_by_orientation(image);
  for (int orientation = 1; orientation <= 8; ++orientation) {
    const std::string little = "II" + bytes_of({42, 0, 8, 0, 0,           0, 1, 0, 0x12, 1, 3, 0,
                                                1,  0, 0, 0, orientation, 0, 0, 0, 0,    0, 0, 0});
    const std::string big = "MM" + bytes_of({0, 42, 0, 0, 0, 8,           0, 1, 1, 0x12, 0, 3,
                                             0, 0,  0, 1, 0, orientation, 0, 0, 0, 0,    0, 0});
    for (const std::string& exif : {little, big}) {
      PngFile file = png_of(image, 2);
      file.before = {{"eXIf", exif}};
      EXPECT_TRUE(decoded(file).equal(upright.at(orientation))) << orientation;
      file.before.clear();
      file.after = {{"eXIf", exif}};
      EXPECT_TRUE(decoded(file).equal(upright.at(orientation))) << orientation << ", at the end";
    }
  }
}

TEST(Png, InterlacedRowsStandInTheirPlaces) {
  // The pixels of an interlaced file of 2 x 2 come in the order of the passes: (0, 0), then (0, 1),
  // then the second row.
  const at::Tensor image = noise(3, 2, 2);
  const at::Tensor pixels = image.permute({1, 2, 0}).contiguous();
  const auto pixel = [&](std::int64_t y, std::int64_t x) {
    const auto* bytes = reinterpret_cast<const char*>(pixels[y][x].data_ptr<std::uint8_t>());
    return std::string(bytes, 3);
  };
  PngFile file;
  file.width = file.height = 2;
  file.rows = {pixel(0, 0), pixel(0, 1), pixel(1, 0) + pixel(1, 1)};
  std::string bytes = file.bytes();
  std::string header = bytes.substr(16, 13);
  header[12] = 1;
  bytes.replace(8, 25, png_chunk("IHDR", header));
  const TemporaryFolder folder;
  EXPECT_TRUE(host::decode_image(folder.write("i.png", bytes)).equal(image));
}

TEST(Png, DamageIsSaid) {
  const TemporaryFolder folder;
  const std::string whole = png_of(noise(3), 2).bytes();
  for (const std::size_t size : {std::size_t{20}, std::size_t{40}, whole.size() - 20}) {
    try {
      host::decode_image(folder.write("cut.png", whole.substr(0, size)));
      FAIL() << size;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("cut.png can't be read: it is cut off")) << size;
    }
  }
  std::string wrong = whole;
  wrong[60] = static_cast<char>(wrong[60] ^ 1);
  EXPECT_THROW(host::decode_image(folder.write("wrong.png", wrong)), Error);
}

TEST(ImageTransforms, GreyIsThatOfPillow) {
  const at::Tensor image = noise(3, 40, 50);
  host::ImageTransform transform;
  transform.channels = 1;
  const at::Tensor grey = host::apply(transform, image);
  ASSERT_EQ(grey.sizes(), (at::IntArrayRef{1, 40, 50}));
  for (std::int64_t y = 0; y < 40; ++y) {
    for (std::int64_t x = 0; x < 50; ++x) {
      const auto value = [&](int channel) { return image[channel][y][x].item<std::int64_t>(); };
      const std::int64_t luma =
          (value(0) * 19595 + value(1) * 38470 + value(2) * 7471 + 0x8000) >> 16;
      ASSERT_EQ(grey[0][y][x].item<float>(), static_cast<float>(luma) / 255.0F);
    }
  }
  // Grey stays as it is, and the rest of the transform comes after.
  const at::Tensor same = in_all_channels(noise(1));
  EXPECT_TRUE(host::apply(transform, same)[0].equal(same[0].to(at::kFloat) / 255.0F));
  transform.resize = {3, 4};
  transform.mean = {0.5};
  transform.std = {0.25};
  EXPECT_EQ(host::apply(transform, image).sizes(), (at::IntArrayRef{1, 3, 4}));
}

}  // namespace
}  // namespace microtome::testing
