// Base64, as logins and keys have it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace carat {

std::string base64(std::string_view bytes);
// None if it is not base64. Line ends are left out before.
std::optional<std::string> from_base64(std::string_view text);

}  // namespace carat
