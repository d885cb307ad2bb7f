#include "cli/remote.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "base/json.h"
#include "chat/human.h"
#include "cli/json_text.h"
#include "store/pull/http.h"

namespace carat::cli {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

HttpSettings settings_for(int64_t connect_ms) {
  HttpSettings settings;
  settings.plain_http = true;
  settings.connect_ms = connect_ms;
  settings.stall_ms = 600'000;  // a model may have to be loaded
  settings.attempts = 1;
  return settings;
}

Result<HttpAnswer> ask(const HttpRequest& request, int64_t connect_ms) {
  HttpClient client(settings_for(connect_ms));
  return client.fetch(request, 64 << 20, [] { return false; });
}

std::string server_url() {
  std::string host = variable("OLLAMA_HOST");
  if (host.empty()) return "http://127.0.0.1:11434";
  if (host.find("://") == std::string::npos) host = "http://" + host;
  const size_t authority = host.find("://") + 3;
  if (host.ends_with('/')) host.pop_back();
  const size_t bracket = host.find(']', authority);
  if (host.find(':', bracket == std::string::npos ? authority : bracket) == std::string::npos) host += ":11434";
  if (const size_t any = host.find("://0.0.0.0:"); any != std::string::npos) host.replace(any + 3, 7, "127.0.0.1");
  return host;
}

// Seconds since 1970 of "2026-11-25T23:57:00Z".
std::optional<int64_t> time_of(const std::string& text) {
  int year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0;
  if (std::sscanf(text.c_str(), "%d-%d-%dT%d:%d:%d", &year, &month, &day, &hour, &minute, &second) != 6) {
    return std::nullopt;
  }
  std::tm when{};
  when.tm_year = year - 1900, when.tm_mon = month - 1, when.tm_mday = day;
  when.tm_hour = hour, when.tm_min = minute, when.tm_sec = second;
  return static_cast<int64_t>(::timegm(&when));
}

// "4 minutes from now", as Ollama says it.
std::string until(const std::string& expires) {
  const auto when = time_of(expires);
  if (!when) return expires;
  const int64_t left = *when - static_cast<int64_t>(std::time(nullptr));
  if (left > int64_t{3600} * 24 * 365 * 10) return "Forever";
  if (left <= 0) return "Stopping...";
  std::string ago = chat::human_ago(std::chrono::seconds(left));
  if (const size_t word = ago.rfind(" ago"); word != std::string::npos) ago.replace(word, 4, " from now");
  return ago;
}

Error refusal(int status, const std::string& body) {
  const auto json = json_or_null(body);
  std::string text = fmt::format("the server answers {}", status);
  if (json.is_object() && json.contains("error")) {
    const auto& error = json["error"];
    const auto& message = error.is_object() && error.contains("message") ? error["message"] : error;
    if (message.is_string()) text = message.get<std::string>();
  }
  return {status == 404 ? ErrorCode::kNotFound : ErrorCode::kNetwork, std::move(text)};
}

Result<std::string> body_of(const Result<HttpAnswer>& answer) {
  if (!answer) return answer.error();
  if (answer->head.status == 200) return answer->body;
  return refusal(answer->head.status, answer->body);
}

// The list of models that an answer holds; `read_rest` takes what only this kind of list says. Error: kNetwork.
template <class Model, class ReadRest>
Result<std::vector<Model>> read_models(const std::string& body, const std::string& where, const ReadRest& read_rest) {
  const Error unexpected{ErrorCode::kNetwork, where + ": not the list that was expected"};
  const auto json = json_or_null(body);
  if (!json.is_object() || !json.contains("models") || !json["models"].is_array()) return unexpected;
  std::vector<Model> all;
  try {
    for (const auto& one : json["models"]) {
      Model& model = all.emplace_back();
      model.name = one.value("name", "");
      model.digest = one.value("digest", "");
      model.size_bytes = one.value("size", uint64_t{0});
      read_rest(one, model);
    }
  } catch (const nlohmann::json::exception&) {
    return unexpected;
  }
  return all;
}

}  // namespace

std::optional<Remote> Remote::find() {
  Remote remote;
  remote.url_ = server_url();
  remote.key_ = variable("VLLM_API_KEY");
  HttpRequest request;
  request.url = remote.url_ + "/health";
  const auto answer = ask(request, 300);
  if (!answer || answer->head.status != 200) return std::nullopt;
  const std::string* server = answer->head.find("server");
  if (server == nullptr || !server->starts_with("carat")) return std::nullopt;
  return remote;
}

Result<std::string> Remote::get(const std::string& path) const {
  HttpRequest request;
  request.url = url_ + path;
  if (!key_.empty()) request.authorization = "Bearer " + key_;
  return body_of(ask(request, 2000));
}

Result<std::string> Remote::post(const std::string& path, const std::string& json) const {
  HttpRequest request;
  request.method = "POST";
  request.url = url_ + path;
  request.headers = {"Content-Type: application/json"};
  request.body = json;
  if (!key_.empty()) request.authorization = "Bearer " + key_;
  return body_of(ask(request, 2000));
}

Result<bool> Remote::stream(const std::string& path, const std::string& json,
                            const std::function<Status(std::string_view bytes)>& take,
                            const std::function<bool()>& stop) const {
  constexpr size_t kLongestRefusal = 64 << 10;
  HttpRequest request;
  request.method = "POST";
  request.url = url_ + path;
  request.headers = {"Content-Type: application/json"};
  request.body = json;
  if (!key_.empty()) request.authorization = "Bearer " + key_;
  HttpClient client(settings_for(2000));
  int status = 0;
  std::string refused;
  const auto transfer = client.start(
      std::move(request),
      [&](const HttpHead& head) {
        status = head.status;
        return Status();
      },
      [&](std::span<const std::byte> bytes) -> Status {
        const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        if (status == 200) return take(text);
        refused += text.substr(0, kLongestRefusal - std::min(kLongestRefusal, refused.size()));
        return {};
      });
  while (!transfer->is_done()) {
    if (stop()) return false;
    client.run(50);
  }
  CARAT_CHECK(Status(transfer->status()));
  if (transfer->head().status != 200) return refusal(transfer->head().status, refused);
  return true;
}

Result<std::vector<StoredThere>> Remote::models() const {
  CARAT_TRY(const std::string body, get("/api/tags"));
  return read_models<StoredThere>(body, url_ + "/api/tags", [](const auto& one, StoredThere& model) {
    model.modified =
        std::chrono::system_clock::time_point(std::chrono::seconds(time_of(one.value("modified_at", "")).value_or(0)));
  });
}

Result<std::vector<RunningModel>> Remote::running() const {
  CARAT_TRY(const std::string body, get("/api/ps"));
  return read_models<RunningModel>(body, url_ + "/api/ps", [](const auto& one, RunningModel& model) {
    model.context = one.value("context_length", 0);
    model.processor = one.value("size_vram", uint64_t{0}) > 0 ? "100% GPU" : "100% CPU";
    model.until = until(one.value("expires_at", ""));
  });
}

Status Remote::stop(const std::string& model) const {
  CARAT_TRY(const std::string body, post("/api/generate", nlohmann::json{{"model", model}, {"keep_alive", 0}}.dump()));
  return {};
}

}  // namespace carat::cli
