// carat doctor: one page on this machine: what it has, what would run, what fits, what is wrong and what to do about it.
#include <fmt/format.h>

#include "backend/backend.h"
#include "base/threads.h"
#include "cli/bandwidth.h"
#include "cli/commands.h"
#include "cli/diagnosis.h"
#include "cli/json_text.h"
#include "cli/output.h"
#include "cli/report.h"
#include "store/paths.h"

namespace carat::cli {
namespace {

struct DoctorFlags {
  bool json = false;
  std::string root;
};

// What only the running machine can say.
Status look_at_this_machine(Diagnosis& diagnosis) {
  diagnosis.backend = backend_names().front();
  diagnosis.lacking = missing_backend_names();
  const auto gpu = describe_gpu();
  diagnosis.gpu = gpu.ok() ? *gpu : gpu.error().message;
  if (const auto home = store_home(); home.ok()) {
    diagnosis.store = *home;
    std::filesystem::path there = *home;
    std::error_code error;
    while (!std::filesystem::exists(there, error) && there.has_relative_path()) there = there.parent_path();
    const auto space = std::filesystem::space(there, error);
    if (!error) diagnosis.disk_free_bytes = space.available;
  }
  CARAT_TRY(const auto team, Team::create(diagnosis.cores));
  constexpr size_t kMost = size_t{512} << 20, kLeast = size_t{16} << 20;
  const size_t bytes = std::min<uint64_t>(kMost, diagnosis.usable_bytes / 4);
  if (bytes >= kLeast) diagnosis.bandwidth = measure_read_bandwidth(*team, bytes);
  return {};
}

Status run(const DoctorFlags& flags) {
  Diagnosis diagnosis = diagnose(flags.root.empty() ? "/" : flags.root);
  if (flags.root.empty()) CARAT_CHECK(look_at_this_machine(diagnosis));
  conclude(diagnosis);
  if (flags.json) {
    say("{}\n", json_text(diagnosis_json(diagnosis), 2));
  } else {
    write(diagnosis_text(diagnosis));
  }
  return {};
}

}  // namespace

void add_doctor(CLI::App& app, Action& action) {
  auto flags = std::make_shared<DoctorFlags>();
  CLI::App* command = app.add_subcommand("doctor", "Look at this machine: what would run, what fits, what is wrong");
  command->add_flag("--json", flags->json, "As JSON");
  command->add_option("--root", flags->root, "Look at a copy of another machine's /proc, /sys and /etc instead")
      ->type_name("FOLDER");
  command->footer(
      "Example:\n"
      "  carat doctor\n\n"
      "It takes a second: the bandwidth of the memory is measured, which is what decoding is limited by.");
  command->callback([flags, &action] { action = [flags] { return run_and_report([&] { return run(*flags); }); }; });
}

}  // namespace carat::cli
