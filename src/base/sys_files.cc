#include "base/sys_files.h"

#include <charconv>
#include <fstream>
#include <sstream>

namespace carat {
namespace {

constexpr int kMaxThreads = 4096;  // hardware threads of a machine: a list that names more is none

std::string trimmed(const std::string& text) {
  const size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

}  // namespace

std::string line_of(const std::filesystem::path& file) {
  std::ifstream in(file);
  std::string line;
  std::getline(in, line);
  return line.substr(0, line.find('\0'));
}

std::optional<int64_t> leading_number(const std::string& text) {
  const size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string::npos) return std::nullopt;
  int64_t value = 0;
  const auto result = std::from_chars(text.data() + begin, text.data() + text.size(), value);
  if (result.ec != std::errc()) return std::nullopt;
  return value;
}

std::optional<int64_t> number_of(const std::filesystem::path& file) { return leading_number(line_of(file)); }

std::string field_of(const std::filesystem::path& file, const std::string& name) {
  std::ifstream in(file);
  std::string line;
  while (std::getline(in, line)) {
    if (line.compare(0, name.size(), name) != 0) continue;
    const size_t value = line.find_first_not_of(" \t:", name.size());
    return value == std::string::npos ? std::string() : trimmed(line.substr(value));
  }
  return {};
}

std::vector<int> list_of(const std::string& text) {
  std::vector<int> numbers;
  std::istringstream parts(text);
  std::string part;
  while (std::getline(parts, part, ',')) {
    const std::optional<int64_t> first = leading_number(part);
    if (!first) continue;
    const size_t dash = part.find('-');
    const int64_t last = dash == std::string::npos ? *first : leading_number(part.substr(dash + 1)).value_or(*first);
    if (*first < 0 || last >= kMaxThreads) return {};
    for (int64_t number = *first; number <= last; ++number) numbers.push_back(static_cast<int>(number));
  }
  return numbers;
}

}  // namespace carat
