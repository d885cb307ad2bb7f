// Where the checkout and the program under test lie. The only file of the tests that knows: everything else compiles to
// the same bytes in every clone, so that clones share ccache.
#pragma once

namespace carat {

extern const char* const kSourceDir;    // the root of the checkout
extern const char* const kCaratBinary;  // build/carat

}  // namespace carat
