// Parsing of names: split at fixed separators, then every part against one set of characters.
#include "store/model_name.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "base/printable.h"

namespace carat {
namespace {

constexpr std::string_view kDefaultSpace = "library";
constexpr std::string_view kDefaultTag = "latest";
constexpr size_t kMaxPart = 96;  // of Hugging Face's own limit; five parts stay far below a path's 4096 bytes
constexpr size_t kMaxTotal = 4 * kMaxPart + 4;

bool is_alphanumeric(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

// A host may carry a port, so a ':' too.
bool is_safe_part(std::string_view part, bool is_host) {
  if (part.empty() || part.size() > kMaxPart) return false;
  if (!is_alphanumeric(part[0]) && part[0] != '_') return false;
  return std::all_of(part.begin(), part.end(), [is_host](char c) {
    return is_alphanumeric(c) || c == '_' || c == '-' || c == '.' || (is_host && c == ':');
  });
}

Error invalid(std::string_view text, std::string_view why) {
  return Error{
      ErrorCode::kInvalidArgument,
      fmt::format("model name '{}' is invalid: {}; expected [host/][namespace/]model[:tag]", escaped(text), why)};
}

}  // namespace

Result<ModelName> ModelName::parse(std::string_view text) {
  if (text.empty()) return invalid(text, "it is empty");
  if (text.size() > kMaxTotal) return invalid(text, fmt::format("it is longer than {} characters", kMaxTotal));

  ModelName name{std::string(kDefaultHost), std::string(kDefaultSpace), "", std::string(kDefaultTag)};
  std::string_view rest = text;
  for (const std::string_view scheme : {"https://", "http://"}) {  // a registry's address, or one from a browser
    if (rest.substr(0, scheme.size()) == scheme) rest.remove_prefix(scheme.size());
  }
  const size_t slash = rest.rfind('/');
  const size_t colon = rest.find_first_of(":@", slash == std::string_view::npos ? 0 : slash);
  if (colon != std::string_view::npos) {
    name.tag = rest.substr(colon + 1);
    rest = rest.substr(0, colon);
  }
  std::vector<std::string_view> parts;
  for (size_t begin = 0; begin <= rest.size();) {
    const size_t end = std::min(rest.find('/', begin), rest.size());
    parts.push_back(rest.substr(begin, end - begin));
    begin = end + 1;
  }
  if (parts.size() > 3) return invalid(text, "it has too many parts");
  name.model = parts.back();
  // "192.168.1.5:11434/gemma3:1b": what has a port, or is this machine, is no namespace.
  const bool is_host = parts.size() == 2 && (parts[0].find(':') != std::string_view::npos || parts[0] == "localhost");
  if (parts.size() >= 2 && !is_host) name.space = parts[parts.size() - 2];
  if (parts.size() == 3 || is_host) name.host = parts[0];
  if (name.host == "ollama.com") name.host = kDefaultHost;
  if (name.host == "huggingface.co") name.host = kHuggingFaceHost;

  const struct {
    std::string_view what;
    const std::string& part;
    bool is_host;
  } checks[] = {{"host", name.host, true},
                {"namespace", name.space, false},
                {"model", name.model, false},
                {"tag", name.tag, false}};
  for (const auto& check : checks) {
    if (!is_safe_part(check.part, check.is_host)) {
      return invalid(text,
                     fmt::format("its {} '{}' is not a letter or digit followed by letters, digits, '.', '_', '-'",
                                 check.what, escaped(check.part)));
    }
  }
  return name;
}

std::string ModelName::text() const {
  std::string text;
  if (host != kDefaultHost) text += host + "/";
  if (host != kDefaultHost || space != kDefaultSpace) text += space + "/";
  return text + model + ":" + tag;
}

std::filesystem::path ModelName::path() const { return std::filesystem::path(host) / space / model / tag; }

bool asks_for_plain_http(std::string_view text) { return text.substr(0, 7) == "http://"; }

bool equal_but_for_case(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [&](char x, char y) { return lower(x) == lower(y); });
}

bool same_model(const ModelName& a, const ModelName& b) {
  return equal_but_for_case(a.host, b.host) && equal_but_for_case(a.space, b.space) &&
         equal_but_for_case(a.model, b.model) && equal_but_for_case(a.tag, b.tag);
}

bool is_local_path(std::string_view text) {
  if (text.empty() || text.find('\0') != std::string_view::npos) return false;
  if (text == "." || text == ".." || text[0] == '/' || text.substr(0, 2) == "./" || text.substr(0, 3) == "../")
    return true;
  const std::filesystem::path path(text);
  std::error_code ignored;
  if (path.extension() == ".gguf" || text.back() == '/') return std::filesystem::exists(path, ignored);
  return std::filesystem::exists(path / "config.json", ignored);
}

}  // namespace carat
