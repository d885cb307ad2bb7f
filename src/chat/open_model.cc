#include "chat/open_model.h"

#include "base/memory.h"

namespace carat::chat {

Result<ResolvedModel> resolve_model(const std::string& name_or_path, const Fetch& fetch, PullObserver* hashing) {
  if (is_local_path(name_or_path)) return resolve_path(name_or_path);  // needs no store, nor a home folder
  CARAT_TRY(const Store store, Store::open());
  auto model = store.resolve(name_or_path, hashing);
  if (model.ok() || model.error().code != ErrorCode::kNotFound || !fetch) return model;
  CARAT_TRY(const ModelName name, ModelName::parse(name_or_path));
  CARAT_CHECK(fetch(store, name));
  return store.resolve(name_or_path, hashing);
}

Result<OpenModel> open_model(const std::string& name_or_path, const Fetch& fetch, PullObserver* hashing) {
  return with_memory([&]() -> Result<OpenModel> {
    OpenModel model;
    CARAT_TRY(model.resolved, resolve_model(name_or_path, fetch, hashing));
    CARAT_TRY(model.file, ModelFile::open(model.resolved.path));
    CARAT_CHECK(check(model.file.maps));
    return model;
  });
}

namespace {

Result<Tokenizer> tokenizer_of(const ModelFile& file) {
  if (!file.tokenizer_json.empty()) return Tokenizer::from_file(file.tokenizer_json);
  if (!file.tokenizer_model.empty()) return Tokenizer::from_file(file.tokenizer_model);
  if (file.vocabulary.pieces.empty()) {
    return Error{ErrorCode::kUnsupported, "the model came without a tokenizer: only token ids work (carat eval)"};
  }
  const auto& [pieces, scores, types] = file.vocabulary;
  return Tokenizer::from_vocabulary(pieces, scores, types);
}

}  // namespace

Result<Tokenizer> load_tokenizer(const ModelFile& file) {
  return with_memory([&]() -> Result<Tokenizer> {
    auto tokenizer = tokenizer_of(file);
    CARAT_CHECK(file.whole());
    return tokenizer;
  });
}

}  // namespace carat::chat
