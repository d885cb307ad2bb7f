// Reading the small files of /proc and /sys: one value each, or lines of "name: value". Nothing fails: what is not
// there, or is not what it should be, is none or empty.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace carat {

// The first line, up to a newline or a NUL (the device tree ends its strings so); empty where there is none.
std::string line_of(const std::filesystem::path& file);

// A decimal number at the beginning of the first line.
std::optional<int64_t> number_of(const std::filesystem::path& file);
std::optional<int64_t> leading_number(const std::string& text);

// The value after "name" and a colon or blanks, of the first such line: field_of("/proc/meminfo", "MemTotal:").
std::string field_of(const std::filesystem::path& file, const std::string& name);

// "0-3,6" as {0, 1, 2, 3, 6}.
std::vector<int> list_of(const std::string& text);

}  // namespace carat
