// JPEG by libjpeg-turbo, with its usual decoder (the one that Pillow uses). The library leaves on an error by longjmp:
// what must be destroyed lives in the caller of the function that it leaves.
#include <csetjmp>
#include <cstdio>
#include <cstring>

// After <cstdio>, which it needs and does not include.
#include <jerror.h>
#include <jpeglib.h>

#include "image/decoders.h"

namespace carat {
namespace {

constexpr int kMaxScans = 200;  // of a progressive file: each costs a pass over the picture

struct Decoder {
  jpeg_decompress_struct info{};
  jpeg_error_mgr errors{};
  jpeg_progress_mgr progress{};
  jmp_buf leave{};
  bool truncated = false;
  int orientation = 1;  // EXIF's
  Status size;
  Picture picture;
  LineWatcher* watcher = nullptr;  // once it has been told that the picture begins
};

Decoder& decoder_of(j_common_ptr info) { return *static_cast<Decoder*>(info->client_data); }

void on_error(j_common_ptr info) { longjmp(decoder_of(info).leave, 1); }

void on_message(j_common_ptr info, int level) {
  if (level < 0 && info->err->msg_code == JWRN_JPEG_EOF) decoder_of(info).truncated = true;
}

void on_progress(j_common_ptr info) {
  if (reinterpret_cast<j_decompress_ptr>(info)->input_scan_number > kMaxScans) on_error(info);
}

uint32_t number(const uint8_t* p, int bytes, bool little) {
  uint32_t value = 0;
  for (int i = 0; i < bytes; ++i) value |= uint32_t{p[i]} << 8 * (little ? i : bytes - 1 - i);
  return value;
}

// Tag 0x112 of the first directory of an APP1 "Exif" block; 1 where there is none.
int exif_orientation(std::span<const uint8_t> block) {
  constexpr size_t kHeader = 6;
  if (block.size() < kHeader + 8 || std::memcmp(block.data(), "Exif\0\0", kHeader) != 0) return 1;
  const std::span<const uint8_t> tiff = block.subspan(kHeader);
  const bool little = tiff[0] == 'I';
  const size_t directory = number(tiff.data() + 4, 4, little);
  if (directory > tiff.size() || tiff.size() - directory < 2) return 1;
  const uint32_t entries = number(tiff.data() + directory, 2, little);
  for (size_t i = 0; i < entries; ++i) {
    const size_t at = directory + 2 + 12 * i;
    if (at + 12 > tiff.size()) return 1;
    if (number(tiff.data() + at, 2, little) != 0x112) continue;
    const uint32_t value = number(tiff.data() + at + 8, 2, little);
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

// In place: a line of four inks becomes RGB. Adobe's files hold the inks inverted.
void inks_to_rgb(const uint8_t* inks, uint8_t* rgb, size_t width, bool inverted) {
  for (size_t x = 0; x < width; ++x) {
    const auto paper = [&](size_t i) { return inverted ? inks[4 * x + i] : 255 - inks[4 * x + i]; };
    for (size_t i = 0; i < 3; ++i) rgb[3 * x + i] = static_cast<uint8_t>((paper(i) * paper(3) + 127) / 255);
  }
}

// False where the library gave up; then only the decoder's fields tell why.
bool run(Decoder& d, std::span<const uint8_t> bytes, std::vector<uint8_t>& line, LineWatcher* watcher) {
  if (setjmp(d.leave) != 0) return false;
  jpeg_create_decompress(&d.info);
  d.info.progress = &d.progress;
  jpeg_mem_src(&d.info, bytes.data(), static_cast<unsigned long>(bytes.size()));
  jpeg_save_markers(&d.info, JPEG_APP0 + 1, 0xffff);
  if (jpeg_read_header(&d.info, TRUE) != JPEG_HEADER_OK) return false;
  d.size = check_picture_size(d.info.image_width, d.info.image_height);
  if (!d.size.ok()) return false;
  for (jpeg_saved_marker_ptr marker = d.info.marker_list; marker != nullptr; marker = marker->next) {
    if (d.orientation == 1) d.orientation = exif_orientation({marker->data, marker->data_length});
  }
  const bool inks = d.info.num_components == 4;
  d.info.out_color_space = inks ? JCS_CMYK : JCS_RGB;
  jpeg_start_decompress(&d.info);
  const size_t width = d.info.output_width;
  d.picture.width = static_cast<int32_t>(width);
  d.picture.height = static_cast<int32_t>(d.info.output_height);
  d.picture.rgb.resize(width * d.info.output_height * 3);
  if (inks) line.resize(width * 4);
  if (watcher != nullptr && d.orientation == 1) {
    watcher->begins(d.picture);
    d.watcher = watcher;
  }
  while (d.info.output_scanline < d.info.output_height) {
    uint8_t* to = d.picture.rgb.data() + size_t{d.info.output_scanline} * width * 3;
    JSAMPROW row = inks ? line.data() : to;
    if (jpeg_read_scanlines(&d.info, &row, 1) != 1) return false;
    if (inks) inks_to_rgb(line.data(), to, width, d.info.saw_Adobe_marker != 0);
    if (d.watcher != nullptr) d.watcher->has(static_cast<int32_t>(d.info.output_scanline));
  }
  return !d.truncated;
}

// EXIF's eight orientations: 1 upright, 2 mirrored, 3 by 180, 4 flipped, 5 to 8 the same with width and height swapped.
Picture turned(Picture from, int orientation) {
  if (orientation == 1) return from;
  const bool swapped = orientation >= 5;
  Picture to{swapped ? from.height : from.width, swapped ? from.width : from.height, {}};
  to.rgb.resize(from.rgb.size());
  const auto w = static_cast<size_t>(from.width), h = static_cast<size_t>(from.height);
  uint8_t* out = to.rgb.data();
  for (size_t y = 0; y < static_cast<size_t>(to.height); ++y) {
    for (size_t x = 0; x < static_cast<size_t>(to.width); ++x, out += 3) {
      size_t fx = swapped ? y : x, fy = swapped ? x : y;
      if (orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8) fx = w - 1 - fx;
      if (orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7) fy = h - 1 - fy;
      std::memcpy(out, from.rgb.data() + (fy * w + fx) * 3, 3);
    }
  }
  return to;
}

}  // namespace

Result<Picture> decode_jpeg(std::span<const uint8_t> bytes, LineWatcher* watcher) {
  Decoder d;
  std::vector<uint8_t> line;
  d.info.err = jpeg_std_error(&d.errors);
  d.errors.error_exit = on_error;
  d.errors.emit_message = on_message;
  d.progress.progress_monitor = on_progress;
  d.info.client_data = &d;
  const bool whole = run(d, bytes, line, watcher);
  jpeg_destroy_decompress(&d.info);
  if (!d.size.ok()) return d.size.error();
  if (!whole && d.watcher != nullptr) d.watcher->fails();
  if (!whole) return Error{ErrorCode::kInvalidArgument, "the JPEG picture is damaged or cut off"};
  return turned(std::move(d.picture), d.orientation);
}

}  // namespace carat
