// carat serve [MODEL]: what `ollama serve` and `vllm serve MODEL` are, on one engine. Here are only flags and variables;
// the server is server/.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <limits>

#include "cli/commands.h"
#include "cli/fetch.h"
#include "cli/model_flags.h"
#include "cli/number_flag.h"
#include "cli/output.h"
#include "cli/report.h"
#include "cli/service_notify.h"
#include "server/app.h"
#include "server/keep_alive.h"

namespace carat::cli {
namespace {

using server::Flavor;

constexpr int32_t kMostSequences = 1024, kMostModels = 1024, kMostWaiting = 1 << 20;

struct ServeFlags {
  std::string model, host, port, keep_alive, context, key_file, certificate, key;
  std::vector<std::string> served_names, api_keys, allowed_hosts, origins, media_domains;
  std::string media_path, mmproj;
  bool pan_and_scan = false;
  int32_t max_sequences = 0, max_loaded = 0, max_queue = 0, max_logprobs = 20, drain_seconds = 30;
  bool share = false, insecure = false, quiet_requests = false, open_metrics = false;
  chat::LoadOptions running;
};

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

Result<int32_t> number(const std::string& text, const std::string& what) {
  int32_t value = 0;
  std::string_view digits = text;
  int32_t factor = 1;
  if (digits.ends_with('k') || digits.ends_with('K')) {
    factor = digits.ends_with('K') ? 1024 : 1000;
    digits.remove_suffix(1);
  }
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size() || value < 0 || value > INT32_MAX / factor) {
    return Error{ErrorCode::kInvalidArgument, fmt::format("{}: expected a number, got '{}'", what, text)};
  }
  return value * factor;
}

// A flag, else a variable, else what was there.
Status set_number(int32_t& to, int32_t flag, const char* name, int32_t most) {
  if (flag > 0) {
    to = flag;
  } else if (const std::string text = variable(name); !text.empty() && text != "0") {
    CARAT_TRY(to, number(text, name));
    if (to > most) return Error{ErrorCode::kInvalidArgument, fmt::format("{} is {}, at most {}", name, to, most)};
  }
  return {};
}

// "[http://]host[:port][/]", as OLLAMA_HOST has it.
Status read_ollama_host(std::string text, std::string& host, std::string& port) {
  if (const size_t scheme = text.find("://"); scheme != std::string::npos) text.erase(0, scheme + 3);
  text = text.substr(0, text.find('/'));
  if (text.starts_with('[')) {
    const size_t end = text.find(']');
    if (end == std::string::npos) return Error{ErrorCode::kInvalidArgument, "OLLAMA_HOST: no ] after ["};
    host = text.substr(1, end - 1);
    if (text.size() > end + 1) port = text.substr(end + 2);
  } else if (const size_t colon = text.find(':'); colon != std::string::npos && colon == text.rfind(':')) {
    host = text.substr(0, colon);
    port = text.substr(colon + 1);
  } else {
    host = text;
  }
  if (host.empty()) host = "0.0.0.0";  // ":8080", as in Go
  return {};
}

Status set_address(const ServeFlags& flags, server::ServeOptions& options) {
  std::string host, port;
  if (const std::string text = variable("OLLAMA_HOST"); !text.empty() && options.flavor == Flavor::kOllama) {
    CARAT_CHECK(read_ollama_host(text, host, port));
  }
  if (!flags.host.empty()) host = flags.host;
  if (!flags.port.empty()) port = flags.port;
  options.http.host = host.empty() ? "127.0.0.1" : host == "localhost" ? "127.0.0.1" : host;
  options.http.port = options.flavor == Flavor::kVllm ? 8000 : 11434;
  if (!port.empty()) {
    CARAT_TRY(const int32_t chosen, number(port, flags.port.empty() ? "OLLAMA_HOST's port" : "--port"));
    if (chosen > 65535) return Error{ErrorCode::kInvalidArgument, fmt::format("--port: {} is none", chosen)};
    options.http.port = static_cast<uint16_t>(chosen);
  }
  options.gate.loopback = server::is_loopback(options.http.host);
  return {};
}

Status set_keys(const ServeFlags& flags, server::ServeOptions& options) {
  for (const std::string& key : flags.api_keys) options.keys.add(key);
  if (const std::string key = variable("VLLM_API_KEY"); !key.empty() && flags.api_keys.empty()) options.keys.add(key);
  if (!flags.key_file.empty()) CARAT_CHECK(options.keys.read_file(flags.key_file));
  if (!options.gate.loopback && options.keys.empty() && !flags.insecure) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("{} is reachable from other machines: give --api-key or --api-key-file, or --insecure to "
                             "let anybody in",
                             options.http.host)};
  }
  return {};
}

Result<server::ServeOptions> options_of(const ServeFlags& flags) {
  server::ServeOptions options;
  options.version = CARAT_VERSION;
  options.model = flags.model;
  options.flavor = flags.model.empty() ? Flavor::kOllama : Flavor::kVllm;
  options.served_names = flags.served_names;
  options.max_logprobs = flags.max_logprobs;
  options.drain_timeout = std::chrono::seconds(flags.drain_seconds);
  options.open_metrics = flags.open_metrics;
  options.share = flags.share;
  CARAT_CHECK(set_address(flags, options));
  options.gate.allowed_hosts = flags.allowed_hosts;
  options.gate.allowed_origins = flags.origins;
  std::string origins = variable("OLLAMA_ORIGINS");
  while (!origins.empty()) {
    const size_t comma = origins.find(',');
    options.gate.allowed_origins.push_back(origins.substr(0, comma));
    origins = comma == std::string::npos ? "" : origins.substr(comma + 1);
  }
  CARAT_CHECK(set_keys(flags, options));
  if (flags.certificate.empty() != flags.key.empty()) {
    return Error{ErrorCode::kInvalidArgument, "--ssl-certfile and --ssl-keyfile go together"};
  }
  options.http.certificate_file = flags.certificate;
  options.http.key_file = flags.key;

  options.media.domains = flags.media_domains;
  options.media.local_path = flags.media_path;
  if (!flags.mmproj.empty() && flags.model.empty()) {
    return Error{ErrorCode::kInvalidArgument, "--mmproj is for a MODEL, and none is named"};
  }

  server::ModelsOptions& models = options.models;
  models.mmproj = flags.mmproj;
  models.pan_and_scan = flags.pan_and_scan;
  models.backend = flags.running.backend;
  models.chunk = flags.running.chunk;
  models.memory = flags.running.memory;
  CARAT_CHECK(set_number(models.max_sequences, flags.max_sequences, "OLLAMA_NUM_PARALLEL", kMostSequences));
  CARAT_CHECK(set_number(models.max_loaded, flags.max_loaded, "OLLAMA_MAX_LOADED_MODELS", kMostModels));
  CARAT_CHECK(set_number(models.max_waiting, flags.max_queue, "OLLAMA_MAX_QUEUE", kMostWaiting));
  const std::string context = !flags.context.empty() ? flags.context : variable("OLLAMA_CONTEXT_LENGTH");
  if (!context.empty() && context != "auto") {
    CARAT_TRY(models.context, number(context, flags.context.empty() ? "OLLAMA_CONTEXT_LENGTH" : "--max-model-len"));
  }
  if (options.flavor == Flavor::kVllm) {  // the model's whole context, which all sequences share
    if (models.context == 0) models.context = std::numeric_limits<int32_t>::max();
    models.whole_contexts = 1;
  }
  const std::string keep = !flags.keep_alive.empty() ? flags.keep_alive : variable("OLLAMA_KEEP_ALIVE");
  if (!keep.empty()) {
    const bool is_number = keep.find_first_not_of("-0123456789") == std::string::npos;
    if (is_number) {
      models.keep_alive = server::keep_alive_of_seconds(std::strtod(keep.c_str(), nullptr));
    } else {
      const auto duration = server::parse_duration(keep);
      if (!duration) {
        const char* name = flags.keep_alive.empty() ? "OLLAMA_KEEP_ALIVE" : "--keep-alive";
        return Error{ErrorCode::kInvalidArgument, fmt::format("{}: {}", name, duration.error().message)};
      }
      models.keep_alive = *duration;
    }
  }
  const auto print = [](const std::string& line) { note("{}\n", line); };
  options.tell = [print](const std::string& line) { print("carat: " + line); };
  if (!flags.quiet_requests) options.log = print;
  options.notify = [service = std::make_shared<ServiceNotify>()](server::ServeOptions::State state) {
    using State = server::ServeOptions::State;
    service->send(state == State::kReady ? "READY=1" : state == State::kAlive ? "WATCHDOG=1" : "STOPPING=1");
  };
  return options;
}

Status run(const ServeFlags& flags) {
  CARAT_TRY(server::ServeOptions options, options_of(flags));
  CARAT_TRY(Store store, Store::open());
  if (!flags.model.empty()) {  // pulled first, with a bar, if it is nowhere
    CARAT_TRY(const ResolvedModel model, resolve_or_fetch(flags.model));
  }
  CARAT_TRY(const auto app, server::App::create(std::move(options), std::move(store)));
  app->run();
  if (const auto lost = lost_device()) std::_Exit(report({ErrorCode::kIo, *lost}));
  if (app->models().is_loading()) std::_Exit(0);  // nobody will ask for that model: its loading is not waited for
  return {};
}

// Of texts that cannot be empty: a variable of a script that was not set is not the same as no flag.
const CLI::Validator kNotEmpty([](std::string& text) -> std::string { return text.empty() ? "it is empty" : ""; }, "");

void add_flags(CLI::App& command, ServeFlags& flags) {
  command.add_option("MODEL", flags.model,
                     "Serve this one, as `vllm serve` does; without: all of the store, as Ollama");
  const std::string network = "Network";
  command.add_option("--host", flags.host, "Address to listen on; 127.0.0.1, or that of OLLAMA_HOST")->group(network);
  command.add_option("--port", flags.port, "8000 with a MODEL; 11434, or that of OLLAMA_HOST, without; 0: any")
      ->group(network);
  command.add_option("--api-key", flags.api_keys, "Asked of every request but /health; may be repeated; VLLM_API_KEY")
      ->allow_extra_args(false)
      ->group(network);
  command
      .add_option("--api-key-file", flags.key_file,
                  "Keys, one a line, plain or as sha256:...; read again when it changes")
      ->group(network);
  command.add_flag("--insecure", flags.insecure, "Listen on other addresses than loopback without a key")
      ->group(network);
  command
      .add_flag("--share", flags.share,
                "Let anybody who can reach this server pull the store's models (GET /v2/...), without a key")
      ->group(network);
  command.add_flag("--open-metrics", flags.open_metrics, "/metrics needs no key")->group(network);
  command.add_option("--ssl-certfile", flags.certificate, "Certificate chain in PEM: serves HTTPS")->group(network);
  command.add_option("--ssl-keyfile", flags.key, "Its private key in PEM")->group(network);
  command
      .add_option("--allowed-hosts", flags.allowed_hosts,
                  "Names that the Host header may have, beside the usual; *: any")
      ->group(network);
  command
      .add_option("--allowed-origins", flags.origins, "Web pages that may ask: https://x.example, *; OLLAMA_ORIGINS")
      ->group(network);
  add_number(command, "--drain-timeout", flags.drain_seconds, 0, 86400,
             "Seconds that SIGTERM gives to what is in progress")
      ->group(network);
  command.add_flag("--disable-log-requests", flags.quiet_requests, "No line on standard error for each request")
      ->group(network);
  const std::string models = "Models";
  command.add_option("--served-model-name", flags.served_names, "What clients call MODEL; several are allowed")
      ->group(models);
  command
      .add_option("--max-model-len,--max_model_len", flags.context,
                  "Tokens of prompt and answer; the model's with a MODEL, else 4096; OLLAMA_CONTEXT_LENGTH")
      ->group(models);
  add_number(command, "--max-num-seqs", flags.max_sequences, 0, kMostSequences,
             "Answers of a model at once, else 8, and on a GPU 256 (16 where it shares a small machine's memory); "
             "OLLAMA_NUM_PARALLEL")
      ->group(models);
  add_number(command, "--max-queue", flags.max_queue, 0, kMostWaiting,
             "Requests that may wait; more are answered 503; OLLAMA_MAX_QUEUE")
      ->group(models);
  add_number(command, "--max-loaded-models", flags.max_loaded, 0, kMostModels,
             "Models in memory at once; OLLAMA_MAX_LOADED_MODELS")
      ->group(models);
  command
      .add_option("--keep-alive", flags.keep_alive, "How long a model stays after its last request; OLLAMA_KEEP_ALIVE")
      ->group(models);
  const std::string pictures = "Pictures";
  command.add_option("--mmproj", flags.mmproj, "The vision tower of another file (llama.cpp's mmproj) for MODEL")
      ->type_name("FILE")
      ->group(pictures);
  command.add_flag("--pan-and-scan", flags.pan_and_scan, "Look at crops of long pictures too, whatever a request says")
      ->group(pictures);
  command
      .add_option("--allowed-media-domains", flags.media_domains,
                  "Hosts that pictures are fetched from where a request names a URL; none otherwise")
      ->delimiter(',')
      ->group(pictures);
  command
      .add_option("--allowed-local-media-path", flags.media_path,
                  "A folder below which file:// URLs of requests are read; none otherwise")
      ->group(pictures);
  add_number(command, "--max-logprobs", flags.max_logprobs, 0, 20, "Alternatives with each token at most")
      ->group(models);
}

}  // namespace

void add_serve(CLI::App& app, Action& action) {
  auto flags = std::make_shared<ServeFlags>();
  CLI::App* command =
      app.add_subcommand("serve", "Serve models over HTTP: Ollama's, OpenAI's and Anthropic's interfaces")
          ->alias("start");
  command->footer(
      "Examples:\n"
      "  carat serve                                       every model of the store, on 127.0.0.1:11434\n"
      "  carat serve ./gemma-3-1b-it.gguf --served-model-name google/gemma-3-1b-it --max-model-len 32K\n"
      "  carat serve google/gemma-3-1b-it                  pulled first, if it is nowhere on this machine\n"
      "  carat serve --host 0.0.0.0 --share --api-key-file keys.txt      others: carat pull HOST:11434/gemma3:1b "
      "--insecure\n"
      "  carat serve --host 0.0.0.0 --api-key-file keys.txt --ssl-certfile cert.pem --ssl-keyfile key.pem\n"
      "All interfaces are there on either port. SIGTERM finishes what is in progress; a second one stops at once.");
  add_flags(*command, *flags);
  add_model_flags(*command, flags->running);
  for (CLI::Option* option : command->get_options([](const CLI::Option* o) { return o->get_expected_max() > 0; })) {
    option->check(kNotEmpty);
  }
  command->callback([flags, &action] { action = [flags] { return run_and_report([&] { return run(*flags); }); }; });
}

}  // namespace carat::cli
