// chat::Elsewhere over HTTP: a carat server on this machine, or where OLLAMA_HOST says, that has the same model.
#pragma once

#include <memory>
#include <string>

#include "chat/elsewhere.h"
#include "chat/open_model.h"

namespace carat::cli {

// None if no server runs, or if it has not this very model (the digest says). `keep_alive`: how long it stays loaded
// there, as Ollama writes it; empty: as long as the server likes.
std::shared_ptr<chat::Elsewhere> find_elsewhere(const ResolvedModel& model, const std::string& keep_alive);

}  // namespace carat::cli
