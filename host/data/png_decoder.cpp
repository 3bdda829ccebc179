#include "host/data/png_decoder.h"

#include <png.h>

#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <vector>

#include "microtome/error.h"

namespace microtome::host {
namespace {

/// libpng's state for one file. Where libpng finds a mistake it jumps out of the step that it was
/// called in, so steps hold nothing that has a destructor.
class Reading {
 public:
  explicit Reading(std::string_view bytes) : rest_(bytes) {
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, on_error, on_warning);
    if (png_ != nullptr) info_ = png_create_info_struct(png_);
    if (info_ == nullptr) {
      png_destroy_read_struct(&png_, nullptr, nullptr);
      throw Error("libpng can't start");
    }
    png_set_read_fn(png_, this, on_read);
  }
  ~Reading() { png_destroy_read_struct(&png_, &info_, nullptr); }
  Reading(const Reading&) = delete;
  Reading& operator=(const Reading&) = delete;

  void read_header() {
    if (!finishes(header_step)) throw Error(message_);
  }
  std::int64_t width() const { return png_get_image_width(png_, info_); }
  std::int64_t height() const { return png_get_image_height(png_, info_); }

  /// To `pixels`, H x W x 3 bytes in a row.
  void read_pixels(std::uint8_t* pixels) {
    rows_.resize(static_cast<std::size_t>(height()));
    for (std::size_t y = 0; y < rows_.size(); ++y)
      rows_[y] = pixels + y * static_cast<std::size_t>(width()) * 3;
    if (!finishes(pixels_step)) throw Error(message_);
  }

 private:
  bool finishes(void (*step)(Reading&)) {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    step(*this);
    return true;
  }

  static void header_step(Reading& self) { png_read_info(self.png_, self.info_); }

  static void pixels_step(Reading& self) {
    png_structp png = self.png_;
    png_set_scale_16(png);
    png_set_palette_to_rgb(png);
    png_set_expand_gray_1_2_4_to_8(png);
    png_set_strip_alpha(png);
    png_set_gray_to_rgb(png);
    png_set_interlace_handling(png);
    png_read_update_info(png, self.info_);
    if (png_get_rowbytes(png, self.info_) != static_cast<std::size_t>(self.width()) * 3)
      png_error(png, "it has an unusual number of channels");
    png_read_image(png, self.rows_.data());
    png_read_end(png, nullptr);
  }

  static Reading& of(png_structp png) { return *static_cast<Reading*>(png_get_error_ptr(png)); }
  static void on_error(png_structp png, png_const_charp message) {
    Reading& self = of(png);
    std::snprintf(self.message_, sizeof self.message_, "%s", message);
    png_longjmp(png, 1);
  }
  static void on_warning(png_structp, png_const_charp) {}
  static void on_read(png_structp png, png_bytep to, png_size_t count) {
    Reading& self = of(png);
    if (self.rest_.size() < count) png_error(png, "it is cut off");
    std::memcpy(to, self.rest_.data(), count);
    self.rest_.remove_prefix(count);
  }

  std::string_view rest_;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  std::vector<png_bytep> rows_;
  char message_[200] = {};
};

}  // namespace

std::optional<std::pair<std::int64_t, std::int64_t>> png_size(std::string_view bytes) {
  if (bytes.size() < 24 || bytes.substr(12, 4) != "IHDR") return std::nullopt;
  const auto number = [&](std::size_t at) {
    std::int64_t value = 0;
    for (std::size_t i = 0; i < 4; ++i)
      value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
    return value;
  };
  return std::pair{number(16), number(20)};
}

at::Tensor decode_png(std::string_view bytes) {
  Reading reading(bytes);
  reading.read_header();
  at::Tensor pixels = at::empty({reading.height(), reading.width(), 3}, at::kByte);
  reading.read_pixels(pixels.data_ptr<std::uint8_t>());
  return pixels.permute({2, 0, 1}).contiguous();
}

}  // namespace microtome::host
