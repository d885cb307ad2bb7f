// Names of models: `[host/][namespace/]model[:tag]`, as Ollama writes them; `org/name` of Hugging Face is the same with
// a namespace, `org/name@revision` with a tag. A scheme before them (http://, https://) is no part of the name. A ModelName holds only parts that are safe as names of files (a letter, digit or '_' first, then those
// and '.', '-'), so that path() cannot leave the folder it is put under, whatever text it was parsed from.
#pragma once

#include <compare>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/result.h"

namespace carat {

inline constexpr std::string_view kDefaultHost = "registry.ollama.ai";  // also written ollama.com
inline constexpr std::string_view kHuggingFaceHost = "hf.co";           // also written huggingface.co

struct ModelName {
  std::string host;   // "registry.ollama.ai" unless given
  std::string space;  // the namespace; "library" unless given
  std::string model;
  std::string tag;  // "latest" unless given

  // Error: kInvalidArgument, naming the part that is wrong.
  static Result<ModelName> parse(std::string_view text);

  std::string text() const;            // what people type: defaults left out, the tag always there: "gemma3:270m-pt"
  std::filesystem::path path() const;  // host/space/model/tag, relative

  auto operator<=>(const ModelName&) const = default;
};

// True for "http://...": whoever typed that wants a registry without TLS.
bool asks_for_plain_http(std::string_view text);

// Of a model the case does not count: GEMMA3:270M-PT is gemma3:270m-pt.
bool equal_but_for_case(std::string_view a, std::string_view b);
bool same_model(const ModelName& a, const ModelName& b);

// True if `text` means a file or folder rather than a name: it begins with ./ ../ or /, or ends in / or .gguf and
// exists, or is a folder with a config.json in it.
bool is_local_path(std::string_view text);

}  // namespace carat
