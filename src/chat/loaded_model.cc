#include "chat/loaded_model.h"

#include <fmt/format.h>

namespace carat::chat {

Result<LoadedModel> LoadedModel::load(OpenModel model, const LoadOptions& options) {
  LoadedModel loaded;
  loaded.model_ = std::make_unique<OpenModel>(std::move(model));
  const ModelFile& file = loaded.model_->file;
  CARAT_TRY(loaded.backend_, create_backend(options.backend, file.config, file.weights));
  loaded.chunk_ = options.chunk;
  return loaded;
}

Result<Engine*> LoadedModel::engine_of(int64_t context) {
  if (engine_ && engine_->options().context >= context) return engine_.get();
  if (context > config().context_length) {
    return Error{ErrorCode::kTooLong, fmt::format("prompt and answer need a context of {} tokens, and the model has {}",
                                                  context, config().context_length)};
  }
  EngineOptions wanted;
  wanted.context = static_cast<int32_t>(context);
  wanted.max_rows = chunk_;
  engine_.reset();
  CARAT_TRY(engine_, Engine::create(*backend_, config(), wanted));
  return engine_.get();
}

}  // namespace carat::chat
