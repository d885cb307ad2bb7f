// The commands of the program: one file each, each adding itself to the app. A command only records what to do; main
// runs it after the whole command line has been read.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace carat::cli {

using Action = std::function<int()>;  // returns the exit code

void add_bench(CLI::App& app, Action& action);
CLI::App* add_bench_serve(CLI::App& bench, Action& action);       // `carat bench serve`
CLI::App* add_bench_structured(CLI::App& bench, Action& action);  // `carat bench structured`
CLI::App* add_bench_vision(CLI::App& bench, Action& action);      // `carat bench vision`
void add_completion(CLI::App& app, Action& action);
void add_cp(CLI::App& app, Action& action);
void add_create(CLI::App& app, Action& action);
void add_doctor(CLI::App& app, Action& action);
void add_eval(CLI::App& app, Action& action);
void add_help(CLI::App& app, Action& action);
void add_list(CLI::App& app, Action& action);
void add_perplexity(CLI::App& app, Action& action);
void add_ps(CLI::App& app, Action& action);
void add_pull(CLI::App& app, Action& action);
void add_push(CLI::App& app, Action& action);
void add_rm(CLI::App& app, Action& action);
void add_run(CLI::App& app, Action& action);
void add_serve(CLI::App& app, Action& action);
void add_show(CLI::App& app, Action& action);
void add_stop(CLI::App& app, Action& action);
void add_synth(CLI::App& app, Action& action);
void add_tokenize(CLI::App& app, Action& action);
void add_verify(CLI::App& app, Action& action);
void add_version(CLI::App& app, Action& action);

}  // namespace carat::cli
