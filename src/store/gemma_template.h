// Templates of models in Ollama's registry are small Go programs. Carat runs none: it knows Gemma's turns when it sees
// them, and lays them out itself.
#pragma once

#include <string_view>

namespace carat {

// True if all that the template writes, beside what it is given, is Gemma 3's turns (<start_of_turn>user, ...model,
// <end_of_turn>): whatever its loops and conditions look like, no other prompt can be meant.
bool is_gemma_template(std::string_view text);

// True if it holds nothing but texts, {{ .Prompt }} and {{ .System }}: those are filled in.
bool is_plain_template(std::string_view text);

}  // namespace carat
