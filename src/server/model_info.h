// What /api/tags and /api/show say about models beyond their facts.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "chat/model_facts.h"
#include "server/app.h"
#include "server/json_text.h"

namespace carat::server {

// Every model that can be asked for, newest first: those of the store, or the one that is served.
Result<std::vector<chat::ModelFacts>> known_models(App& app);

// The prompt template in Ollama's notation: the manifest's, Gemma's own, or the prompt alone.
std::string template_text(const chat::OpenModel& model);

// "model_info":{...},"tensors":[...]: what its file says, arrays only if `verbose`. Errors: those of GgufFile::open.
Status write_model_info(JsonWriter& json, const chat::OpenModel& model, bool verbose);

}  // namespace carat::server
