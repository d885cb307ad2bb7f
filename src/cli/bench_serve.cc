// carat bench serve: measures any server that speaks OpenAI's completions, from outside: so many clients at once that
// each ask again when they are answered (closed loop), or requests that come by chance (open loop, Poisson).
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <random>

#include "base/json.h"
#include "cli/commands.h"
#include "cli/json_text.h"
#include "cli/output.h"
#include "cli/report.h"
#include "store/pull/http.h"

namespace carat::cli {
namespace {

using Clock = std::chrono::steady_clock;

struct Flags {
  std::string url = "http://127.0.0.1:8000", model, key;
  std::vector<int> clients{1, 4, 8, 16, 64};
  std::vector<double> rates;
  std::vector<std::string> goodput{"ttft:1000", "tpot:100"};
  double most_ttft_ms = 0, most_tpot_ms = 0;  // of a request that counts for goodput
  int requests = 0, prompt = 128, generate = 64;
  bool json = false;
};

double milliseconds(Clock::duration time) { return std::chrono::duration<double, std::milli>(time).count(); }

// One request on its way, and what it measured.
struct Asked {
  std::unique_ptr<HttpTransfer> transfer;
  std::string held;  // bytes of an event that is not complete
  Clock::time_point began = Clock::now(), last;
  double first_ms = -1;
  std::vector<double> gaps_ms;
  int tokens = 0;
  double decode_ms = 0;

  void take(std::string_view bytes) {
    held += bytes;
    for (size_t end; (end = held.find("\n\n")) != std::string::npos; held.erase(0, end + 2)) {
      const std::string_view event = std::string_view(held).substr(0, end);
      if (event.starts_with("data: {")) read(event.substr(6));
    }
  }

  void read(std::string_view data) {
    const auto json = json_or_null(data);
    if (!json.is_object()) return;
    if (const auto usage = json.find("usage"); usage != json.end() && usage->is_object()) {
      const auto completion = usage->find("completion_tokens");
      if (completion != usage->end() && completion->is_number_integer()) tokens = completion->get<int>();
    }
    const auto choices = json.find("choices");
    if (choices == json.end() || !choices->is_array() || choices->empty()) return;
    const auto now = Clock::now();
    if (first_ms < 0) {
      first_ms = milliseconds(now - began);
    } else {
      gaps_ms.push_back(milliseconds(now - last));
      decode_ms += gaps_ms.back();
    }
    last = now;
  }
};

struct Spread {
  double median = 0, p99 = 0;
};

Spread spread_of(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const auto at = [&](double part) {
    return values[static_cast<size_t>(part * static_cast<double>(values.size() - 1))];
  };
  return {at(0.5), at(0.99)};
}

struct Outcome {
  std::string load;  // "8 clients", "2 requests/s"
  int clients = 0, requests = 0, failed = 0;
  double seconds = 0, tokens_per_second = 0;
  double goodput = 0;  // requests a second whose first token and pace were as quick as asked for
  Spread ttft_ms, tpot_ms, itl_ms;
};

class Bench {
 public:
  explicit Bench(const Flags& flags) : flags_(flags), client_(settings()) {}

  // `clients` at once, or (rate > 0) as many as come.
  Result<Outcome> measure(int clients, double rate) {
    return measure(clients, rate, flags_.requests > 0 ? flags_.requests : std::max(8, clients * 3));
  }
  Result<Outcome> measure(int clients, double rate, int total) {
    std::vector<std::unique_ptr<Asked>> active, done;
    std::exponential_distribution<double> pause(rate > 0 ? rate : 1);
    const auto began = Clock::now();
    auto next = began;
    int issued = 0;
    while (static_cast<int>(done.size()) < total) {
      while (issued < total && (rate > 0 ? Clock::now() >= next : static_cast<int>(active.size()) < clients)) {
        active.push_back(ask());
        ++issued;
        next += std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(pause(random_)));
      }
      client_.run(rate > 0 ? 2 : 50);
      for (auto& asked : active) {
        if (asked->transfer->is_done()) done.push_back(std::move(asked));
      }
      std::erase(active, nullptr);
    }
    Outcome outcome;
    outcome.load =
        rate > 0 ? fmt::format("{:g} requests/s", rate) : fmt::format("{} client{}", clients, clients == 1 ? "" : "s");
    outcome.clients = rate > 0 ? 0 : clients;
    outcome.requests = total;
    outcome.seconds = milliseconds(Clock::now() - began) / 1000;
    std::vector<double> ttft, tpot, itl;
    double tokens = 0;
    int good = 0;
    for (const auto& asked : done) {
      if (!asked->transfer->status().ok()) return asked->transfer->status().error();
      if (asked->transfer->head().status != 200) {
        ++outcome.failed;
        continue;
      }
      ttft.push_back(asked->first_ms);
      const double pace = asked->tokens > 1 ? asked->decode_ms / (asked->tokens - 1) : 0;
      if (asked->tokens > 1) tpot.push_back(pace);
      if (asked->first_ms >= 0 && asked->first_ms <= flags_.most_ttft_ms && pace <= flags_.most_tpot_ms) ++good;
      itl.insert(itl.end(), asked->gaps_ms.begin(), asked->gaps_ms.end());
      tokens += asked->tokens;
    }
    outcome.tokens_per_second = tokens / outcome.seconds;
    outcome.goodput = good / outcome.seconds;
    outcome.ttft_ms = spread_of(std::move(ttft));
    outcome.tpot_ms = spread_of(std::move(tpot));
    outcome.itl_ms = spread_of(std::move(itl));
    return outcome;
  }

  // The first model of the server, where none was named.
  Result<std::string> find_model() {
    HttpRequest request;
    request.url = flags_.url + "/v1/models";
    request.authorization = authorization();
    CARAT_TRY(const HttpAnswer answer, client_.fetch(request, 1 << 20, [] { return false; }));
    const auto json = json_or_null(answer.body);
    if (answer.head.status != 200 || !json.is_object() || !json.contains("data") || !json["data"].is_array() ||
        json["data"].empty()) {
      return Error{ErrorCode::kNetwork, fmt::format("{} lists no model (status {})", request.url, answer.head.status)};
    }
    const auto& id = json["data"][0].is_object() && json["data"][0].contains("id") ? json["data"][0]["id"] : json;
    return id.is_string() ? id.get<std::string>() : std::string();
  }

  std::string model;

 private:
  static HttpSettings settings() {
    HttpSettings settings;
    settings.plain_http = true;
    settings.stall_ms = 600'000;
    settings.attempts = 1;
    return settings;
  }
  std::string authorization() const { return flags_.key.empty() ? "" : "Bearer " + flags_.key; }

  std::unique_ptr<Asked> ask() {
    constexpr const char* kWords[] = {"time",  "house", "water", "light", "people",  "world", "small",  "green",
                                      "river", "stone", "music", "paper", "morning", "story", "garden", "window"};
    std::string prompt;
    for (int i = 0; i < flags_.prompt - 1; ++i)
      prompt += fmt::format("{}{}", i == 0 ? "" : " ", kWords[random_() % 16]);
    const nlohmann::json body{{"model", model},     {"prompt", prompt}, {"max_tokens", flags_.generate},
                              {"ignore_eos", true}, {"stream", true},   {"stream_options", {{"include_usage", true}}}};
    HttpRequest request;
    request.method = "POST";
    request.url = flags_.url + "/v1/completions";
    request.headers = {"Content-Type: application/json"};
    request.authorization = authorization();
    request.body = body.dump();
    auto asked = std::make_unique<Asked>();
    asked->transfer = client_.start(
        std::move(request), [](const HttpHead&) { return Status(); },
        [raw = asked.get()](std::span<const std::byte> bytes) {
          raw->take({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
          return Status();
        });
    return asked;
  }

  const Flags& flags_;
  HttpClient client_;
  std::mt19937 random_{1};
};

nlohmann::ordered_json to_json(const Outcome& o) {
  const auto spread = [](const Spread& s) { return nlohmann::ordered_json{{"median", s.median}, {"p99", s.p99}}; };
  return {{"load", o.load},
          {"requests", o.requests},
          {"failed", o.failed},
          {"seconds", o.seconds},
          {"output_tokens_per_second", o.tokens_per_second},
          {"goodput_requests_per_second", o.goodput},
          {"ttft_ms", spread(o.ttft_ms)},
          {"tpot_ms", spread(o.tpot_ms)},
          {"itl_ms", spread(o.itl_ms)}};
}

// "ttft:500" and "tpot:50", milliseconds, as vLLM's bench has them.
Status read_goodput(Flags& flags) {
  for (const std::string& text : flags.goodput) {
    double value = 0;
    const size_t colon = text.find(':');
    const char* begin = text.c_str() + (colon == std::string::npos ? text.size() : colon + 1);
    char* end = nullptr;
    value = std::strtod(begin, &end);
    const std::string name = text.substr(0, colon);
    if (end == begin || *end != '\0' || !(value > 0) || (name != "ttft" && name != "tpot")) {
      return Error{ErrorCode::kInvalidArgument,
                   fmt::format("--goodput: '{}', expected ttft:MS or tpot:MS, as ttft:500", text)};
    }
    (name == "ttft" ? flags.most_ttft_ms : flags.most_tpot_ms) = value;
  }
  if (flags.most_ttft_ms == 0) flags.most_ttft_ms = HUGE_VAL;
  if (flags.most_tpot_ms == 0) flags.most_tpot_ms = HUGE_VAL;
  return {};
}

Status run(Flags& flags) {
  CARAT_CHECK(read_goodput(flags));
  Bench bench(flags);
  bench.model = flags.model;
  if (bench.model.empty()) {
    CARAT_TRY(bench.model, bench.find_model());
  }
  CARAT_TRY(const Outcome warm_up, bench.measure(1, 0, 2));
  std::vector<Outcome> outcomes;
  if (!flags.json) {
    say("{} at {}: {} prompt tokens, {} generated\n", bench.model, flags.url, flags.prompt, flags.generate);
    say("{:<18} {:>9} {:>19} {:>19} {:>19} {:>9} {:>8}\n", "", "tokens/s", "TTFT ms (p99)", "TPOT ms (p99)",
        "ITL ms (p99)", "goodput/s", "failed");
  }
  const auto add = [&](int clients, double rate) -> Status {
    CARAT_TRY(Outcome outcome, bench.measure(clients, rate));
    if (!flags.json) {
      const auto cell = [](const Spread& s) { return fmt::format("{:.1f} ({:.1f})", s.median, s.p99); };
      say("{:<18} {:>9.1f} {:>19} {:>19} {:>19} {:>9.2f} {:>8}\n", outcome.load, outcome.tokens_per_second,
          cell(outcome.ttft_ms), cell(outcome.tpot_ms), cell(outcome.itl_ms), outcome.goodput, outcome.failed);
      std::fflush(stdout);
    }
    outcomes.push_back(std::move(outcome));
    return {};
  };
  for (const int clients : flags.clients) CARAT_CHECK(add(clients, 0));
  for (const double rate : flags.rates) CARAT_CHECK(add(0, rate));
  // The fields of the Jetson AI Lab's page.
  nlohmann::ordered_json page;
  for (const Outcome& outcome : outcomes) {
    if (outcome.clients == 1) page["ttftMs"] = outcome.ttft_ms.median;
    if (outcome.clients == 1 || outcome.clients == 8) {
      page[fmt::format("concurrency{}", outcome.clients)] = outcome.tokens_per_second;
    }
  }
  if (flags.json) {
    nlohmann::ordered_json out{{"model", bench.model},   {"url", flags.url},
                               {"prompt", flags.prompt}, {"generate", flags.generate},
                               {"benchmark", page},      {"results", nlohmann::ordered_json::array()}};
    for (const Outcome& outcome : outcomes) out["results"].push_back(to_json(outcome));
    say("{}\n", json_text(out, 2));
  } else if (!page.empty()) {
    say("benchmark: {}\n", json_text(page));
  }
  return {};
}

}  // namespace

CLI::App* add_bench_serve(CLI::App& bench, Action& action) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = bench.add_subcommand("serve", "Measure a server from outside: any that has OpenAI's completions");
  command->footer("Example:\n  carat serve gemma3:270m-pt & carat bench serve --clients 1,8");
  command->add_option("--url", flags->url, "Where it is")->capture_default_str();
  command->add_option("--model", flags->model, "Its first one, unless given");
  command->add_option("--api-key", flags->key, "What it asks for");
  command->add_option("-c,--clients", flags->clients, "Clients at once, a run each")
      ->delimiter(',')
      ->check(CLI::Range(1, 4096));
  command->add_option("--rate", flags->rates, "Requests a second that come by chance, a run each")->delimiter(',');
  command
      ->add_option("--goodput", flags->goodput,
                   "Count requests within ttft:MS (first token) and tpot:MS (each further one)")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--requests", flags->requests, "Of a run; three of each client, eight at least");
  command->add_option("-p,--prompt", flags->prompt, "Words of a prompt")->check(CLI::Range(1, 1 << 17));
  command->add_option("-n,--generate", flags->generate, "Tokens of an answer")->check(CLI::Range(1, 1 << 17));
  command->add_flag("--json", flags->json, "As JSON");
  command->callback([flags, &action] { action = [flags] { return run_and_report([&] { return run(*flags); }); }; });
  return command;
}

}  // namespace carat::cli
