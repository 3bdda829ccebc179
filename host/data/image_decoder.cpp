#include "host/data/image_decoder.h"

#include <turbojpeg.h>

#include <fstream>
#include <memory>
#include <sstream>
#include <string>

#include "host/data/exif.h"
#include "host/data/png_decoder.h"
#include "host/support/file_kind.h"
#include "microtome/error.h"

namespace microtome::host {
namespace {

constexpr std::int64_t most_pixels = 100'000'000;

class Decoder {
 public:
  explicit Decoder(const std::filesystem::path& file) : file_(file) {
    std::ifstream stream(file, std::ios::binary);
    if (!stream) fail("it can't be opened" + kind_remark(file));
    std::ostringstream text;
    text << stream.rdbuf();
    bytes_ = std::move(text).str();
  }

  at::Tensor decode() const {
    if (bytes_.empty()) fail("it is empty");
    if (bytes_.compare(0, 3, "\xFF\xD8\xFF") == 0) return turned(jpeg(), exif_orientation(bytes_));
    if (bytes_.compare(0, 8, "\x89PNG\r\n\x1a\n") == 0)
      return turned(png(), exif_orientation(bytes_));
    const std::optional<FileKind> kind = file_kind(std::string_view(bytes_).substr(0, kind_bytes));
    fail("it is neither JPEG nor PNG" + (kind ? "; " + kind->text() : ""));
  }

 private:
  [[noreturn]] void fail(const std::string& why) const {
    throw Error("the image " + file_.string() + " can't be read: " + why);
  }

  void check_size(std::int64_t width, std::int64_t height) const {
    if (width <= 0 || height <= 0 || width > most_pixels / height) {
      fail("it says that it has " + std::to_string(width) + " x " + std::to_string(height) +
           " pixels; the limit is 100 million");
    }
  }

  at::Tensor jpeg() const {
    const std::unique_ptr<void, int (*)(tjhandle)> handle(tjInitDecompress(), tjDestroy);
    if (!handle) fail("libjpeg-turbo can't start");
    const auto* data = reinterpret_cast<const unsigned char*>(bytes_.data());
    int width = 0, height = 0, subsampling = 0, space = 0;
    if (tjDecompressHeader3(handle.get(), data, bytes_.size(), &width, &height, &subsampling,
                            &space) != 0) {
      fail(tjGetErrorStr2(handle.get()));
    }
    check_size(width, height);
    const bool cmyk = space == TJCS_CMYK || space == TJCS_YCCK;
    at::Tensor pixels = at::empty({height, width, cmyk ? 4 : 3}, at::kByte);
    // A warning means that data are missing or damaged: what was decoded is partly made up.
    if (tjDecompress2(handle.get(), data, bytes_.size(), pixels.data_ptr<std::uint8_t>(), width, 0,
                      height, cmyk ? TJPF_CMYK : TJPF_RGB, TJFLAG_ACCURATEDCT) != 0) {
      fail(tjGetErrorStr2(handle.get()));
    }
    if (!cmyk) return pixels.permute({2, 0, 1}).contiguous();
    // Files by Adobe hold inverted ink, which is what nearly all CMYK files are; the decoder hands
    // the bytes over as they are.
    const at::Tensor ink = pixels.permute({2, 0, 1}).to(at::kFloat);
    return (ink.slice(0, 0, 3) * ink.slice(0, 3, 4) / 255.0F).round().to(at::kByte).contiguous();
  }

  at::Tensor png() const {
    if (const auto size = png_size(bytes_)) check_size(size->first, size->second);
    try {
      return decode_png(bytes_);
    } catch (const Error& error) {
      fail(error.what());
    }
  }

  /// EXIF orientations 1 to 8: the way the image must be turned to stand upright.
  static at::Tensor turned(const at::Tensor& image, int orientation) {
    switch (orientation) {
      case 2:
        return image.flip({2}).contiguous();
      case 3:
        return image.flip({1, 2}).contiguous();
      case 4:
        return image.flip({1}).contiguous();
      case 5:
        return image.transpose(1, 2).contiguous();
      case 6:
        return image.transpose(1, 2).flip({2}).contiguous();
      case 7:
        return image.transpose(1, 2).flip({1, 2}).contiguous();
      case 8:
        return image.transpose(1, 2).flip({1}).contiguous();
      default:
        return image;
    }
  }

  std::filesystem::path file_;
  std::string bytes_;
};

}  // namespace

at::Tensor decode_image(const std::filesystem::path& file) { return Decoder(file).decode(); }

}  // namespace microtome::host
