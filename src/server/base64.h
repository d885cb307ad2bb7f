// Bytes inside JSON, as pictures travel.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace carat::server {

// Of RFC 4648, in either alphabet; line ends and padding may be there or not. None: it is something else.
std::optional<std::vector<uint8_t>> from_base64(std::string_view text);

}  // namespace carat::server
