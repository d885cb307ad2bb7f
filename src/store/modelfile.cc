#include "store/modelfile.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/printable.h"
#include "store/model_name.h"

namespace carat {
namespace {

constexpr std::string_view kSpaces = " \t";
constexpr std::string_view kTriple = "\"\"\"";

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r\n") + 1 - begin);
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  return out;
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Result<Modelfile> run() {
    while (skip_to_command()) CARAT_CHECK(read_command());
    if (file_.from.empty()) return Error{ErrorCode::kInvalidArgument, "no FROM line"};
    return std::move(file_);
  }

 private:
  Error invalid(std::string_view why) const {
    const auto line = 1 + std::count(text_.begin(), text_.begin() + static_cast<std::ptrdiff_t>(begin_), '\n');
    return Error{ErrorCode::kInvalidArgument, fmt::format("Modelfile, line {}: {}", line, why)};
  }

  bool skip_to_command() {
    while (true) {
      at_ = std::min(text_.find_first_not_of(" \t\r\n", at_), text_.size());
      if (at_ == text_.size()) return false;
      begin_ = at_;
      if (text_[at_] != '#') return true;
      at_ = std::min(text_.find('\n', at_), text_.size());
    }
  }

  void skip_spaces() { at_ = std::min(text_.find_first_not_of(kSpaces, at_), text_.size()); }

  std::string_view word() {
    skip_spaces();
    const size_t end = std::min(text_.find_first_of(" \t\r\n", at_), text_.size());
    const std::string_view found = text_.substr(at_, end - at_);
    at_ = end;
    return found;
  }

  // Up to the end of the line, or of the quotes.
  Result<std::string> value() {
    skip_spaces();
    const std::string_view rest = text_.substr(at_);
    if (rest.substr(0, 3) == kTriple) {
      const size_t end = rest.find(kTriple, 3);
      if (end == std::string_view::npos) return invalid("a text that begins with \"\"\" does not end");
      at_ += end + 3;
      return std::string(rest.substr(3, end - 3));
    }
    if (rest.substr(0, 1) == "\"") {
      // Quotes inside are the text's own: the one that ends it stands at the end of a line.
      for (size_t end = 1; (end = rest.find('"', end)) != std::string_view::npos; ++end) {
        const size_t next = rest.find_first_not_of(" \t\r", end + 1);
        if (next != std::string_view::npos && rest[next] != '\n') continue;
        at_ += end + 1;
        return std::string(rest.substr(1, end - 1));
      }
      return invalid("a text that begins with \" does not end");
    }
    const size_t end = std::min(rest.find('\n'), rest.size());
    at_ += end;
    return std::string(trimmed(rest.substr(0, end)));
  }

  Status read_command() {
    const std::string command = lower(word());
    std::string name;
    if (command == "parameter" || command == "message") name = lower(word());
    if (command == "requires" || command == "renderer" || command == "parser" || command == "draft") {
      return invalid(fmt::format("{} is for other models than Gemma 3", command));
    }
    const bool known = command == "from" || command == "parameter" || command == "template" || command == "system" ||
                       command == "license" || command == "message" || command == "adapter";
    if (!known) {
      return invalid(
          fmt::format("'{}': command must be one of \"from\", \"license\", \"template\", \"system\", "
                      "\"adapter\", \"parameter\", or \"message\"",
                      escaped(command)));
    }
    if (command == "message" && name != "system" && name != "user" && name != "assistant") {
      return invalid("message role must be one of \"system\", \"user\", or \"assistant\"");
    }
    CARAT_TRY(std::string text, value());
    if (text.empty() && command != "system" && command != "template" && command != "license") {
      return invalid(fmt::format("{} without a value", command));
    }
    if (command == "from") file_.from.push_back(std::move(text));
    if (command == "parameter") file_.parameters.emplace_back(name, std::move(text));
    if (command == "template") file_.prompt_template = std::move(text);
    if (command == "system") file_.system = std::move(text);
    if (command == "license") file_.licenses.push_back(std::move(text));
    if (command == "message") file_.messages.push_back({name, std::move(text)});
    if (command == "adapter") file_.adapters.push_back(std::move(text));
    return {};
  }

  std::string_view text_;
  size_t at_ = 0;
  size_t begin_ = 0;  // of the command that is being read
  Modelfile file_;
};

}  // namespace

Result<Modelfile> parse_modelfile(std::string_view text) {
  if (text.substr(0, 3) == "\xEF\xBB\xBF") text.remove_prefix(3);
  return Parser(text).run();
}

}  // namespace carat
