// Pictures: any bytes are decoded as whatever they begin like; what comes out is cut and resized by numbers from the
// last bytes of the input.
#include <string_view>

#include "fuzz.h"
#include "image/picture.h"
#include "image/preprocess.h"

namespace {

using namespace carat;

volatile uint8_t sink;

int32_t number(const uint8_t* data, size_t size, size_t from_end, int32_t least, int32_t most) {
  const uint32_t raw = size < from_end + 2 ? 7u : uint32_t{data[size - from_end - 2]} << 8 | data[size - from_end - 1];
  return least + static_cast<int32_t>(raw % static_cast<uint32_t>(most - least + 1));
}

std::string bytes_of(std::string_view hex) {
  const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) bytes += static_cast<char>(digit(hex[i]) * 16 + digit(hex[i + 1]));
  return bytes;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto picture = decode_picture({data, size});
  if (!picture.ok()) {
    if (picture.error().message.find('\n') != std::string::npos) __builtin_trap();
    if (picture.error().code != ErrorCode::kInvalidArgument) __builtin_trap();
    return 0;
  }
  const int32_t width = picture->width, height = picture->height;
  if (width < 1 || height < 1) __builtin_trap();
  if (picture->rgb.size() != static_cast<size_t>(width) * static_cast<size_t>(height) * 3) __builtin_trap();
  for (const Box& box : pan_and_scan_crops(width, height)) {
    if (box.left < 0 || box.top < 0 || box.width < 1 || box.height < 1) __builtin_trap();
    if (box.left + box.width > width || box.top + box.height > height) __builtin_trap();
  }
  if (int64_t{width} * height > 1 << 20) return 0;  // the decoder has been tried; the rest is only slow
  const int32_t left = number(data, size, 0, 0, width - 1), top = number(data, size, 2, 0, height - 1);
  const Box box{left, top, number(data, size, 4, 1, width - left), number(data, size, 6, 1, height - top)};
  const Picture small = resized(*picture, box, number(data, size, 8, 1, 64), number(data, size, 10, 1, 64));
  for (const uint8_t value : small.rgb) sink = value;
  return 0;
}

std::vector<std::string> fuzz_seeds() {
  // 3 x 2 pixels each, as Pillow writes them.
  return {
      // png
      bytes_of("89504e470d0a1a0a0000000d49484452000000030000000208020000001216f14d0000001849444154789c63f8cfc0c000c1"
               "5c227227528cfeffff0f003c190795efc2c6d80000000049454e44ae426082"),
      // palette
      bytes_of("89504e470d0a1a0a0000000d49484452000000030000000204030000006f5a7b2900000030504c5445000000000000000000"
               "000000000000000000000000000000000000000000000000330000660000990000cc0000ff0000fe0e000c0000000e494441"
               "54789c63fcf182e19d00000a7002e0dbe42a740000000049454e44ae426082"),
      // jpeg
      bytes_of("ffd8ffe000104a46494600010100000100010000ffdb0043001b12141714111b1716171e1c1b2028422b28252528513a3d30"
               "42605565645f555d5b6a7899816a7190735b5d85b586909ea3abadab6780bcc9baa6c799a8aba4ffc0000b08000200030101"
               "1100ffc40014000100000000000000000000000000000005ffc4001b10000203000300000000000000000000000102030405"
               "002181ffda0008010100003f004b26a569b32bc92d78a4729db32024fbcfffd9"),
      // progressive
      bytes_of("ffd8ffee000e41646f626500640000000000ffdb004300a06e788c7864a08c828cb4aaa0bef0fffff0dcdcf0ffffffffffff"
               "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffc20014080002000304431100"
               "4d11005911004b1100ffc4001500010100000000000000000000000000000102ffda000e0443004d0059004b000000015abf"
               "ffc40014100100000000000000000000000000000000ffda00080143000105027fffc4001510010100000000000000000000"
               "000000000001ffda0008014d000105028fffc4001510010100000000000000000000000000000131ffda0008015900010502"
               "27ffc40014100100000000000000000000000000000000ffda0008014b000105027fffc40014100100000000000000000000"
               "000000000000ffda0008014300063f027fffc40014100100000000000000000000000000000000ffda0008014d00063f027f"
               "ffc40014100100000000000000000000000000000000ffda0008015900063f027fffc4001410010000000000000000000000"
               "0000000000ffda0008014b00063f027fffc40017100100030000000000000000000000000001001131ffda0008014300013f"
               "2102b27fffc400161001010100000000000000000000000000010011ffda0008014d00013f21065fffc40014100100000000"
               "000000000000000000000000ffda0008015900013f211fffc40014100100000000000000000000000000000000ffda000801"
               "4b00013f217fffda000e0443004d0059004b00000010cfffc400161001010100000000000000000000000000010051ffda00"
               "08014300013f106150a997ffc400161001010100000000000000000000000000010071ffda0008014d00013f1041505cbfff"
               "c400171000030100000000000000000000000000003141f0ffda0008015900013f1056a7ffc4001410010000000000000000"
               "0000000000000000ffda0008014b00013f107fffd9"),
      // webp
      bytes_of("5249464652000000574542505650382046000000b001009d012a0300020002804225a80274010ef69e4000f97f93141fec14"
               "c7e4418e83f4cadbfffc4c7e597f277f26fffe89fe98fcb2fe4efe4dfec4be60f8efc28b9d640000"),
      // lossless
      bytes_of("5249464642000000574542505650384c360000002f024000002f40906db341dcebfe32d32093b6c95fff76666d64d236ad87"
               "fdf3afb2f31f68e491acfb06040294b1e2816d22fa1fe305"),
  };
}
