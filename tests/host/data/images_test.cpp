// Images as they come: right, or an error that names the file.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <png.h>
#include <turbojpeg.h>
#include <fstream>

#include "host/data/image_decoder.h"
#include "host/data/image_folder.h"
#include "host/data/image_transform.h"
#include "host/store/content_index.h"
#include "tests/host/data/orientations.h"
#include "tests/support/small_world.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/test_data.h"

namespace microtome::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

/// A left-to-right red ramp and a top-to-bottom green one: shows which way an image lies.
at::Tensor ramps(std::int64_t height = 24, std::int64_t width = 32) {
  at::Tensor image = at::zeros({3, height, width});
  image[0] = at::linspace(20, 230, width).view({1, -1}).expand({height, width});
  image[1] = at::linspace(20, 230, height).view({-1, 1}).expand({height, width});
  image[2].fill_(90);
  return image.round().to(at::kByte);
}

std::string jpeg_of(const at::Tensor& image, int format = TJPF_RGB, int subsampling = TJSAMP_444) {
  const at::Tensor pixels = image.permute({1, 2, 0}).contiguous();
  tjhandle handle = tjInitCompress();
  unsigned char* data = nullptr;
  unsigned long size = 0;
  EXPECT_EQ(tjCompress2(handle, pixels.data_ptr<std::uint8_t>(), static_cast<int>(image.size(2)), 0,
                        static_cast<int>(image.size(1)), format, &data, &size, subsampling, 98,
                        TJFLAG_ACCURATEDCT),
            0)
      << tjGetErrorStr2(handle);
  std::string bytes(reinterpret_cast<char*>(data), size);
  tjFree(data);
  tjDestroy(handle);
  return bytes;
}

/// With an EXIF segment that says an orientation, in either byte order.
std::string with_orientation(const std::string& jpeg, int orientation, bool little) {
  const auto number = [&](unsigned value, int size) {
    std::string text;
    for (int i = 0; i < size; ++i)
      text += static_cast<char>(value >> (8 * (little ? i : size - 1 - i)) & 255U);
    return text;
  };
  const std::string tiff = std::string(little ? "II" : "MM") + number(42, 2) + number(8, 4) +
                           number(1, 2) + number(0x112, 2) + number(3, 2) + number(1, 4) +
                           number(static_cast<unsigned>(orientation), 2) + number(0, 2) +
                           number(0, 4);
  const std::string content = std::string("Exif\0\0", 6) + tiff;
  const std::size_t length = content.size() + 2;
  return jpeg.substr(0, 2) + "\xFF\xE1" + static_cast<char>(length >> 8) +
         static_cast<char>(length & 255) + content + jpeg.substr(2);
}

std::string refusal(const fs::path& file) {
  try {
    host::decode_image(file);
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  EXPECT_EQ(a.sizes(), b.sizes());
  return (a.to(at::kFloat) - b.to(at::kFloat)).abs().max().item<double>();
}

TEST(Images, JpegInColourAndGrey) {
  const TemporaryFolder folder;
  const at::Tensor image = ramps();
  EXPECT_LE(largest_difference(host::decode_image(folder.write("a.jpg", jpeg_of(image))), image),
            6);
  const at::Tensor grey = host::decode_image(
      folder.write("g.jpg", jpeg_of(image.slice(0, 0, 1), TJPF_GRAY, TJSAMP_GRAY)));
  for (int channel = 0; channel < 3; ++channel)
    EXPECT_LE(largest_difference(grey[channel], image[0]), 3);
}

TEST(Images, JpegInCmyk) {
  const TemporaryFolder folder;
  const at::Tensor image = ramps();
  // Adobe's way: inverted ink, black at its least.
  const at::Tensor ink = at::cat({image, at::full({1, 24, 32}, 255, at::kByte)});
  EXPECT_LE(
      largest_difference(host::decode_image(folder.write("c.jpg", jpeg_of(ink, TJPF_CMYK))), image),
      6);
}

TEST(Images, ExifOrientationStandsUpright) {
  const TemporaryFolder folder;
  const at::Tensor image = ramps();
  const auto upright = upright_by_orientation(image);
  for (int orientation = 1; orientation <= 8; ++orientation) {
    for (const bool little : {true, false}) {
      const auto file =
          folder.write("e.jpg", with_orientation(jpeg_of(image), orientation, little));
      EXPECT_LE(largest_difference(host::decode_image(file), upright.at(orientation)), 6)
          << orientation;
    }
  }
}

TEST(Images, PngOfAllKinds) {
  const TemporaryFolder folder;
  const at::Tensor image = ramps();
  const auto write = [&](const char* name, png_uint_32 format, const at::Tensor& pixels,
                         int row_stride) {
    png_image about{};
    about.version = PNG_IMAGE_VERSION;
    about.width = 32;
    about.height = 24;
    about.format = format;
    const fs::path file = folder.path() / name;
    EXPECT_NE(
        png_image_write_to_file(&about, file.c_str(), 0, pixels.data_ptr(), row_stride, nullptr), 0)
        << about.message;
    return host::decode_image(file);
  };
  const at::Tensor rows = image.permute({1, 2, 0}).contiguous();
  EXPECT_TRUE(write("rgb.png", PNG_FORMAT_RGB, rows, 0).equal(image));
  // Alpha is dropped: the colour under it stays.
  const at::Tensor alpha = at::randint(1, 255, {24, 32, 1}).to(at::kByte);
  EXPECT_TRUE(
      write("rgba.png", PNG_FORMAT_RGBA, at::cat({rows, alpha}, 2).contiguous(), 0).equal(image));
  const at::Tensor grey = write("grey.png", PNG_FORMAT_GRAY, image[0].contiguous(), 0);
  EXPECT_TRUE(grey.equal(image.slice(0, 0, 1).expand({3, 24, 32})));
}

/// A 16-bit PNG, which the simplified interface writes as linear light only.
std::string png_of_16_bits(const at::Tensor& image) {
  std::string bytes;
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  png_set_write_fn(
      png, &bytes,
      [](png_structp writer, png_bytep data, png_size_t size) {
        static_cast<std::string*>(png_get_io_ptr(writer))
            ->append(reinterpret_cast<char*>(data), size);
      },
      nullptr);
  png_set_IHDR(png, info, static_cast<png_uint_32>(image.size(2)),
               static_cast<png_uint_32>(image.size(1)), 16, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  png_write_info(png, info);
  const at::Tensor rows = image.permute({1, 2, 0}).contiguous();
  std::vector<png_byte> row(static_cast<std::size_t>(image.size(2) * 6));
  for (std::int64_t y = 0; y < image.size(1); ++y) {
    const auto* values = rows[y].data_ptr<std::uint8_t>();
    // 8 bits v as 16 bits v * 257.
    for (std::size_t i = 0; i < row.size(); ++i) row[i] = values[i / 2];
    png_write_row(png, row.data());
  }
  png_write_end(png, nullptr);
  png_destroy_write_struct(&png, &info);
  return bytes;
}

TEST(Images, PngOf16Bits) {
  const TemporaryFolder folder;
  EXPECT_LE(largest_difference(
                host::decode_image(folder.write("deep.png", png_of_16_bits(ramps()))), ramps()),
            1);
}

TEST(Images, DamagedFilesAreNamed) {
  const TemporaryFolder folder;
  const std::string jpeg = jpeg_of(ramps());
  write_png(folder.path() / "whole.png", ramps());
  const std::string png = read_file(folder.path() / "whole.png");
  EXPECT_THAT(refusal(folder.write("cut.jpg", jpeg.substr(0, jpeg.size() / 2))),
              HasSubstr("cut.jpg"));
  EXPECT_THAT(refusal(folder.write("head.jpg", jpeg.substr(0, 20))), HasSubstr("head.jpg"));
  EXPECT_THAT(refusal(folder.write("cut.png", png.substr(0, png.size() / 2))),
              HasSubstr("cut.png"));
  std::string corrupt = png;
  for (std::size_t i = png.size() / 2; i < png.size() / 2 + 20; ++i)
    corrupt[i] = static_cast<char>(~corrupt[i]);
  EXPECT_THAT(refusal(folder.write("corrupt.png", corrupt)), HasSubstr("corrupt.png"));
  EXPECT_THAT(refusal(folder.write("empty.jpg", "")),
              AllOf(HasSubstr("empty.jpg"), HasSubstr("it is empty")));
  EXPECT_THAT(refusal(folder.write("text.jpg", "GIF89a no image")),
              HasSubstr("neither JPEG nor PNG"));
  EXPECT_THAT(refusal(folder.path() / "absent.jpg"), HasSubstr("can't be opened"));
}

TEST(Images, AHugeHeaderAllocatesNothing) {
  const TemporaryFolder folder;
  std::string jpeg = jpeg_of(ramps());
  const std::size_t frame = jpeg.find("\xFF\xC0");
  ASSERT_NE(frame, std::string::npos);
  for (const std::size_t at : {frame + 5, frame + 7}) {
    jpeg[at] = static_cast<char>(65000 >> 8);
    jpeg[at + 1] = static_cast<char>(65000 & 255);
  }
  EXPECT_THAT(refusal(folder.write("huge.jpg", jpeg)),
              AllOf(HasSubstr("65000 x 65000"), HasSubstr("the limit is 100 million")));
  write_png(folder.path() / "w.png", ramps());
  std::string png = read_file(folder.path() / "w.png");
  png.replace(16, 8, std::string("\0\0\xFD\xE8\0\0\xFD\xE8", 8));
  EXPECT_THAT(refusal(folder.write("huge.png", png)), HasSubstr("huge.png"));
}

TEST(Images, TheContentTellsTheFormat) {
  const TemporaryFolder folder;
  write_png(folder.path() / "really-png.jpg", ramps());
  EXPECT_TRUE(host::decode_image(folder.path() / "really-png.jpg").equal(ramps()));
}

TEST(ImageTransforms, ResizeCropAndNormalise) {
  host::ImageTransform transform;
  transform.resize = {12};
  const at::Tensor image = ramps();
  const at::Tensor resized = host::apply(transform, image);
  EXPECT_EQ(resized.sizes().vec(), (std::vector<std::int64_t>{3, 12, 16}));
  // Halving with antialiasing weighs neighbours by 1/8, 3/8, 3/8, 1/8.
  const at::Tensor row = image[0][0].to(at::kFloat);
  const double expected = (row[9].item<double>() + 3 * row[10].item<double>() +
                           3 * row[11].item<double>() + row[12].item<double>()) /
                          8;
  EXPECT_NEAR(resized[0][6][5].item<double>() * 255, expected, 0.51);
  transform.resize.clear();
  transform.crop = 10;
  EXPECT_TRUE(host::apply(transform, image)
                  .equal(image.slice(1, 7, 17).slice(2, 11, 21).to(at::kFloat) / 255.0F));
  transform.mean = {0.1, 0.2, 0.3};
  transform.std = {0.5, 0.25, 1};
  const at::Tensor plain = image.slice(1, 7, 17).slice(2, 11, 21).to(at::kFloat) / 255.0F;
  EXPECT_TRUE(at::allclose(host::apply(transform, image)[1], (plain[1] - 0.2) / 0.25));
  transform.crop = 25;
  EXPECT_THROW(host::apply(transform, image), Error);
}

TEST(ImageFolders, OrderLimitShuffleAndIds) {
  const SmallWorld world(5);
  host::ImageFolderParams params;
  params.path = "images";
  const auto all = host::open_image_folder("d", params, world.path());
  EXPECT_EQ(all->info().size, 10);
  EXPECT_EQ(all->id(0), "green/1000.png");
  EXPECT_EQ(all->id(9), "red/1004.png");
  EXPECT_EQ(all->info().find("label")->class_names, (std::vector<std::string>{"green", "red"}));
  params.shuffle = 1;
  params.limit = 4;
  const auto some = host::open_image_folder("d", params, world.path());
  const auto again = host::open_image_folder("d", params, world.path());
  EXPECT_EQ(some->info().size, 4);
  std::vector<std::string> first, second;
  for (int i = 0; i < 4; ++i) {
    first.push_back(some->id(i));
    second.push_back(again->id(i));
  }
  EXPECT_EQ(first, second);
  params.shuffle = 2;
  const auto other = host::open_image_folder("d", params, world.path());
  host::ContentIndex index({});
  EXPECT_NE(some->content_hash(index), other->content_hash(index));
  EXPECT_EQ(some->content_hash(index), again->content_hash(index));
}

TEST(ImageFolders, AnEmptyFolderIsSaid) {
  const TemporaryFolder folder;
  fs::create_directories(folder.path() / "nothing");
  host::ImageFolderParams params;
  params.path = "nothing";
  try {
    host::open_image_folder("d", params, folder.path());
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("nothing"), HasSubstr("holds no image")));
  }
}

TEST(ImageFolders, BadSamplesFailOrAreSkipped) {
  const SmallWorld world(3);
  std::ofstream(world.images() / "red" / "1001.png") << "damaged";
  host::ImageFolderParams params;
  params.path = "images";
  const auto strict = host::open_image_folder("d", params, world.path());
  try {
    strict->load({3, 4, 5});
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("1001.png"));
  }
  params.on_bad_sample = host::ImageFolderParams::OnBadSample::skip;
  const auto lenient = host::open_image_folder("d", params, world.path());
  ASSERT_EQ(lenient->info().size, 5);
  const Batch batch = lenient->load({3, 4});
  EXPECT_EQ(batch.ids, (std::vector<std::string>{"red/1000.png", "red/1002.png"}));
  EXPECT_EQ(batch.positions, (std::vector<std::int64_t>{3, 4}));
  ASSERT_EQ(lenient->info().skipped.size(), 1U);
  EXPECT_EQ(lenient->info().skipped[0].id, "red/1001.png");
  EXPECT_THAT(lenient->info().skipped[0].why, HasSubstr("1001.png"));
}

}  // namespace
}  // namespace microtome::testing
