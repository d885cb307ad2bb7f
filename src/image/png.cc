// PNG by libpng, which leaves on an error by longjmp: what must be destroyed lives in the caller.
#include <png.h>

#include <cstring>

#include "image/decoders.h"

namespace carat {
namespace {

struct Decoder {
  png_structp png = nullptr;
  png_infop info = nullptr;
  std::span<const uint8_t> left;
  Status size;
  Picture picture;
  std::vector<png_bytep> rows;
};

void on_read(png_structp png, png_bytep to, size_t count) {
  auto& d = *static_cast<Decoder*>(png_get_io_ptr(png));
  if (count > d.left.size()) png_error(png, "");
  std::memcpy(to, d.left.data(), count);
  d.left = d.left.subspan(count);
}

void on_error(png_structp png, png_const_charp) { png_longjmp(png, 1); }
void on_warning(png_structp, png_const_charp) {}

bool run(Decoder& d) {
  if (setjmp(png_jmpbuf(d.png)) != 0) return false;
  png_set_read_fn(d.png, &d, on_read);
  png_set_user_limits(d.png, 0x7fffffff, 0x7fffffff);  // our own check follows, with our own words
  png_set_chunk_cache_max(d.png, 64);
  png_set_chunk_malloc_max(d.png, 4 << 20);
  png_read_info(d.png, d.info);
  const png_uint_32 width = png_get_image_width(d.png, d.info), height = png_get_image_height(d.png, d.info);
  d.size = check_picture_size(width, height);
  if (!d.size.ok()) return false;
  png_set_expand(d.png);
  png_set_strip_16(d.png);
  png_set_gray_to_rgb(d.png);
  png_set_strip_alpha(d.png);
  png_set_interlace_handling(d.png);
  png_read_update_info(d.png, d.info);
  if (png_get_rowbytes(d.png, d.info) != size_t{width} * 3) return false;
  d.picture = {static_cast<int32_t>(width), static_cast<int32_t>(height), {}};
  d.picture.rgb.resize(size_t{width} * height * 3);
  d.rows.resize(height);
  for (size_t y = 0; y < height; ++y) d.rows[y] = d.picture.rgb.data() + y * width * 3;
  png_read_image(d.png, d.rows.data());
  return true;
}

}  // namespace

Result<Picture> decode_png(std::span<const uint8_t> bytes) {
  Decoder d;
  d.left = bytes;
  d.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, nullptr, on_error, on_warning);
  d.info = d.png == nullptr ? nullptr : png_create_info_struct(d.png);
  const bool whole = d.info != nullptr && run(d);
  png_destroy_read_struct(&d.png, &d.info, nullptr);
  if (!d.size.ok()) return d.size.error();
  if (!whole) return Error{ErrorCode::kInvalidArgument, "the PNG picture is damaged or cut off"};
  return std::move(d.picture);
}

}  // namespace carat
