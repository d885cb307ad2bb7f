// The bytes of an argument arrive as they are. CLI11 takes some apart: `[1,2]` is a list to it, `{}` and `%%` are
// nothing. So every argument that is no flag goes through it with a mark at its end, by which it is none of these, and
// loses the mark where it arrives.
#pragma once

#include <string>
#include <vector>

namespace CLI {  // NOLINT(readability-identifier-naming): the library's
class App;
class Option;
}  // namespace CLI

namespace carat::cli {

// The arguments for CLI11's parse(vector), which wants them backwards; `command` of them (the command's name) stays
// bare.
std::vector<std::string> shielded(int argc, char** argv);

// Of an option that must get even `{}` as it is: it takes the marks away itself, from what it is given.
CLI::Option* keeping_marks(CLI::Option* option);

// Takes the mark from a value.
std::string unshielded(std::string value);
std::vector<std::string> unshielded(std::vector<std::string> values);

// The values of every other option of every command lose the mark before anything else sees them.
void unshield_options(CLI::App& app);

}  // namespace carat::cli
