// The cache that huggingface_hub (transformers, vLLM, llama.cpp) fills: models--org--repo/{refs/<revision>,
// snapshots/<commit>/<file>}. A model that lies there whole is used in place; nothing is ever written.
#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "store/model_name.h"
#include "store/store.h"

namespace carat {

// `org/repo`, with a revision or a quantisation as its tag. None if it is not there, or not whole.
std::optional<ResolvedModel> find_in_huggingface_cache(const std::filesystem::path& hub, const ModelName& name);

// Every model there that find_in_huggingface_cache would give.
std::vector<StoredModel> list_huggingface_cache(const std::filesystem::path& hub);

// Of several GGUF files of one repository, the one that `tag` asks for: by its quantisation ("Q4_K_M", any case), or for
// "latest" the most usual one. The first part of a split one stands for it. None if no file fits; projectors never do.
std::optional<std::string> choose_gguf(const std::vector<std::string>& files, std::string_view tag);
// The projector that belongs to them, if there is one: F16 before others.
std::optional<std::string> choose_projector(const std::vector<std::string>& files);

}  // namespace carat
