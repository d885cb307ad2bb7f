// Text from outside (a file, a name, a model's answer), made harmless to look at: what a terminal would obey is shown
// as an escape. Control characters are those of Unicode: C0, DEL, and C1, which some terminals obey as UTF-8 too.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace carat {

// Newlines and tabs stay. "\x1b[2J" gives `\x1b[2J`, U+009B gives `\u009b`, a byte that is no UTF-8 `\xff`.
std::string visible(std::string_view text);

// On one line, as every error is: newlines, tabs and Unicode's line separators are escaped too.
std::string one_line(std::string_view text);

// The same of a quotation: cut after `most` characters.
std::string escaped(std::string_view text, size_t most = 80);

}  // namespace carat
