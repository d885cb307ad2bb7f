#include "cli/fetch.h"

#include "cli/progress.h"
#include "store/pull/pull.h"

namespace carat::cli {
namespace {

chat::Fetch fetching(const std::string& typed_name, bool insecure) {
  PullOptions options;
  options.http.plain_http = insecure || asks_for_plain_http(typed_name);
  return [options](const Store& store, const ModelName& name) {
    Progress progress;
    return pull(store, name, progress, options);
  };
}

// While it lives, Ctrl-C is an error of what is asked for, not the end of the program.
template <class Ask>
auto with_hashing_shown(const Ask& ask) -> decltype(ask(nullptr)) {
  Progress hashing("verifying");
  auto result = ask(&hashing);
  if (result.ok() && hashing.cancelled()) return Error{ErrorCode::kCancelled, "interrupted"};
  return result;
}

}  // namespace

Result<ResolvedModel> resolve_or_fetch(const std::string& typed_name, bool insecure) {
  return with_hashing_shown(
      [&](PullObserver* hashing) { return chat::resolve_model(typed_name, fetching(typed_name, insecure), hashing); });
}

Result<chat::OpenModel> open_or_fetch(const std::string& typed_name, bool insecure) {
  return with_hashing_shown(
      [&](PullObserver* hashing) { return chat::open_model(typed_name, fetching(typed_name, insecure), hashing); });
}

Result<ResolvedModel> resolve_here(const std::string& typed_name) {
  return with_hashing_shown([&](PullObserver* hashing) { return chat::resolve_model(typed_name, {}, hashing); });
}

Result<chat::OpenModel> open_here(const std::string& typed_name) {
  return with_hashing_shown([&](PullObserver* hashing) { return chat::open_model(typed_name, {}, hashing); });
}

}  // namespace carat::cli
