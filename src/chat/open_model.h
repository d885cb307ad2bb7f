// From what a user types for MODEL, a path or a name of the store, to an opened and checked file with all that is known
// about using it.
#pragma once

#include <functional>
#include <string>

#include "base/result.h"
#include "model/model_file.h"
#include "store/store.h"
#include "tokenizer/tokenizer.h"

namespace carat::chat {

struct OpenModel {
  ResolvedModel resolved;  // name, prompt template, stops, parameters; its locks keep the files while this lives
  ModelFile file;
};

// Gets a model that the store does not have: the command line pulls it, with its progress on the terminal.
using Fetch = std::function<Status(const Store& store, const ModelName& name)>;

// A name that the store does not have is fetched first, if there is a way to. `hashing`: see Store::resolve. Errors: those of Store::resolve and of
// `fetch`.
Result<ResolvedModel> resolve_model(const std::string& name_or_path, const Fetch& fetch = {},
                                    PullObserver* hashing = nullptr);

// The same, opened. Errors: those of resolve_model and of ModelFile::open.
Result<OpenModel> open_model(const std::string& name_or_path, const Fetch& fetch = {}, PullObserver* hashing = nullptr);

// The tokenizer that belongs to a model file: a GGUF's arrays, or a directory's tokenizer.json or tokenizer.model. The
// file must outlive it. Errors: kUnsupported where the model came without one; those of Tokenizer.
Result<Tokenizer> load_tokenizer(const ModelFile& file);

}  // namespace carat::chat
