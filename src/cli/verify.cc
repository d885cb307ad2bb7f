// carat verify [MODEL...]: reads every file of the models again and compares it with its digest.
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/report.h"
#include "store/store.h"

namespace carat::cli {
namespace {

int run(const std::vector<std::string>& names) {
  const auto store = Store::open();
  if (!store.ok()) return report(store.error());
  std::vector<StoredModel> models;
  int code = 0;
  if (names.empty()) {
    const auto listing = store->list();
    if (!listing.ok()) return report(listing.error());
    for (const Error& problem : listing->problems) code = report(problem);
    models = listing->models;
  }
  for (const std::string& text : names) {
    const auto name = ModelName::parse(text);
    // Where it lies: here, or in Ollama's folder.
    const Store* holder = name.ok() ? store->holder_of(*name) : nullptr;
    const auto found =
        name.ok() ? (holder != nullptr ? *holder : *store).find(*name) : Result<StoredModel>(name.error());
    if (found.ok()) {
      models.push_back(*found);
    } else {
      code = report(found.error());
    }
  }
  const InterruptGuard interrupts;
  for (const StoredModel& model : models) {
    const Store* holder = store->holder_of(model.name);
    if (holder == nullptr) continue;  // in the hub's cache, whose files have no digests of their own here
    const Status status = holder->verify(model.manifest, [](uint64_t) { return !InterruptGuard::interrupted(); });
    if (status.ok()) {
      say("{}: all of its files are what they should be\n", model.name.text());
      flush();
    } else if (code = report(status.error()); status.error().code == ErrorCode::kCancelled) {
      return code;
    }
  }
  return code;
}

}  // namespace

void add_verify(CLI::App& app, Action& action) {
  auto names = std::make_shared<std::vector<std::string>>();
  CLI::App* command = app.add_subcommand("verify", "Check that the files of models are undamaged");
  command->add_option("MODEL", *names,
                      "Names; none: every model that `carat list` shows, but those of the Hugging Face cache");
  command->footer(
      "Example:\n"
      "  carat verify gemma3:270m-pt\n\n"
      "A model's files are also checked on the first run after anything about them changed.");
  command->callback([names, &action] { action = [names] { return run(*names); }; });
}

}  // namespace carat::cli
