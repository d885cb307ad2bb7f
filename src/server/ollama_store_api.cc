// The part of Ollama's API that is about what the store holds: list, describe, copy, delete, create, pull.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <span>

#include "chat/model_facts.h"
#include "chat/timestamp.h"
#include "server/errors.h"
#include "server/framing.h"
#include "server/json_text.h"
#include "server/model_info.h"
#include "server/ollama_requests.h"
#include "store/create.h"
#include "store/pull/pull.h"
#include "store/pull/push.h"

namespace carat::server {
namespace {

void refuse(const ExchangePtr& exchange, const Error& error) { exchange->respond(ollama_error(error)); }

void write_details(JsonWriter& json, const chat::ModelFacts& facts, const std::string& parent) {
  json.key("details").begin_object().field("parent_model", parent).field("format", facts.format);
  json.field("family", facts.family).key("families").begin_array();
  for (const std::string& family : facts.families) json.value(family);
  json.end_array().field("parameter_size", facts.parameter_size);
  json.field("quantization_level", facts.quantization_level).end_object();
}

void tags(App& app, const ExchangePtr& exchange) {
  JsonWriter json;
  json.begin_object().key("models").begin_array();
  const auto all = known_models(app);
  if (!all) return refuse(exchange, all.error());
  for (const chat::ModelFacts& facts : *all) {
    json.begin_object().field("name", facts.name).field("model", facts.name);
    json.field("modified_at", chat::rfc3339(facts.modified)).field("size", facts.size_bytes);
    json.field("digest", facts.digest);
    write_details(json, facts, "");
    json.key("capabilities").begin_array();
    for (const std::string& capability : facts.capabilities) json.value(capability);
    json.end_array().end_object();
  }
  json.end_array().end_object();
  exchange->respond(json_response(json.take()));
}

void ps(App& app, const ExchangePtr& exchange) {
  JsonWriter json;
  json.begin_object().key("models").begin_array();
  for (const LoadedModelInfo& model : app.models().loaded()) {
    const chat::ModelFacts& facts = *model.facts;
    json.begin_object().field("name", model.name).field("model", model.name).field("size", model.bytes);
    json.field("digest", facts.digest);
    write_details(json, facts, "");
    const auto forever = std::chrono::system_clock::now() + std::chrono::hours(24 * 365 * 100);
    json.field("expires_at", chat::rfc3339(model.expires.value_or(forever)));
    json.field("size_vram", model.backend.starts_with("cuda") ? model.bytes : uint64_t{0});
    json.field("context_length", model.context).end_object();
  }
  json.end_array().end_object();
  exchange->respond(json_response(json.take()));
}

void show(App& app, const ExchangePtr& exchange) {
  const auto request = parse_ollama_names(exchange->request().body, "ShowRequest");
  if (!request) return refuse(exchange, request.error());
  if (request->model.empty()) return exchange->respond(ollama_error(400, "model is required"));
  const auto opened = app.models().open(request->model);
  if (!opened && opened.error().code == ErrorCode::kNotFound) {
    return exchange->respond(ollama_error(404, fmt::format("model '{}' not found", request->model)));
  }
  if (!opened) return refuse(exchange, opened.error());
  const chat::ModelFacts facts = chat::facts_of(*opened);
  const auto license = app.store().license_text(opened->resolved.license);
  JsonWriter json;
  json.begin_object();
  if (license && !license->empty()) json.field("license", *license);
  json.field("modelfile", chat::modelfile_text(facts));
  if (std::string parameters = chat::parameters_text(facts); !parameters.empty()) {
    parameters.pop_back();
    json.field("parameters", parameters);
  }
  json.field("template", template_text(*opened));
  if (!facts.system.empty()) json.field("system", facts.system);
  write_details(json, facts, facts.path.string());
  if (!facts.messages.empty()) {
    json.key("messages").begin_array();
    for (const ManifestMessage& message : facts.messages) {
      json.begin_object().field("role", message.role).field("content", message.content).end_object();
    }
    json.end_array();
  }
  if (const Status told = write_model_info(json, *opened, request->verbose); !told.ok()) {
    return refuse(exchange, for_clients(told.error()));
  }
  json.key("capabilities").begin_array();
  for (const std::string& capability : facts.capabilities) json.value(capability);
  json.end_array().field("modified_at", chat::rfc3339(facts.modified)).end_object();
  exchange->respond(json_response(json.take()));
}

// Statuses of something that takes time: a line each, or the last one alone.
class Statuses {
 public:
  Statuses(ExchangePtr exchange, bool stream) : exchange_(std::move(exchange)), stream_(stream) {}

  void say(const std::string& json) {
    last_ = json;
    if (!stream_) return;
    begin();
    exchange_->write(ndjson_line(json));
  }
  void status(std::string_view text) {
    JsonWriter json;
    json.begin_object().field("status", text).end_object();
    say(json.text());
  }
  void succeed() {
    status("success");
    if (stream_) return exchange_->end();
    exchange_->respond({200, "application/json", last_, {}});
  }
  void fail(int status, std::string_view message) {
    HttpResponse response = ollama_error(status, message);
    response.content_type = "application/json";
    if (!started_) return exchange_->respond(std::move(response));
    exchange_->write(response.body + "\n");
    exchange_->end();
  }

 private:
  void begin() {
    if (std::exchange(started_, true)) return;
    exchange_->begin_stream(200, std::string(kNdjson), {});
  }

  const ExchangePtr exchange_;
  const bool stream_;
  std::string last_;
  bool started_ = false;
};

// Tells a client what a pull, a push or a create is doing, as Ollama does; ends it when the client leaves.
class Teller final : public PullObserver {
 public:
  Teller(const ExchangePtr& exchange, bool stream, std::string verb)
      : statuses_(exchange, stream), verb_(std::move(verb)) {
    exchange->on_gone([gone = gone_] { *gone = true; });
  }
  void on_status(std::string_view text) override {
    if (text != "success") statuses_.status(text);
  }
  void on_progress(std::string_view what, uint64_t done_bytes, uint64_t total_bytes) override {
    const auto now = std::chrono::steady_clock::now();
    if (what == what_ && done_bytes < total_bytes && now - told_ < std::chrono::milliseconds(60)) return;
    what_ = what;
    told_ = now;
    const bool is_digest = what.starts_with("sha256:");
    JsonWriter json;
    json.begin_object().field("status", fmt::format("{} {}", verb_, is_digest ? what.substr(7, 12) : what));
    if (is_digest) json.field("digest", what);
    json.field("total", total_bytes).field("completed", done_bytes).end_object();
    statuses_.say(json.text());
  }
  bool cancelled() override { return *gone_; }

  Statuses& statuses() { return statuses_; }

 private:
  const std::shared_ptr<std::atomic<bool>> gone_ = std::make_shared<std::atomic<bool>>(false);
  Statuses statuses_;
  const std::string verb_;
  std::string what_;
  std::chrono::steady_clock::time_point told_;
};

void copy(App& app, const ExchangePtr& exchange) {
  const auto request = parse_ollama_names(exchange->request().body, "CopyRequest");
  if (!request) return refuse(exchange, request.error());
  const auto source = ModelName::parse(request->source), destination = ModelName::parse(request->destination);
  if (!source) return exchange->respond(ollama_error(400, fmt::format("source \"{}\" is invalid", request->source)));
  if (!destination) {
    return exchange->respond(ollama_error(400, fmt::format("destination \"{}\" is invalid", request->destination)));
  }
  Teller teller(exchange, false, "copying");
  const Status status = copy_model(app.store(), *source, *destination, teller);
  if (status.ok()) return exchange->respond({200, "", "", {}});
  if (status.error().code == ErrorCode::kNotFound) {
    return exchange->respond(ollama_error(404, fmt::format("model \"{}\" not found", request->source)));
  }
  refuse(exchange, status.error());
}

void remove(App& app, const ExchangePtr& exchange) {
  const auto request = parse_ollama_names(exchange->request().body, "DeleteRequest");
  if (!request) return refuse(exchange, request.error());
  const auto name = ModelName::parse(request->model);
  if (!name) return exchange->respond(ollama_error(400, fmt::format("name \"{}\" is invalid", request->model)));
  app.models().unload(request->model);
  const auto removed = app.store().remove(*name);
  if (removed) return exchange->respond({200, "", "", {}});
  if (removed.error().code == ErrorCode::kNotFound) {
    return exchange->respond(ollama_error(404, fmt::format("model '{}' not found", request->model)));
  }
  refuse(exchange, removed.error());
}

void create(App& app, const ExchangePtr& exchange) {
  auto request = parse_ollama_create(exchange->request().body);
  if (!request) return refuse(exchange, request.error());
  const auto name = ModelName::parse(request->model);
  if (!name) return exchange->respond(ollama_error(400, "invalid model name"));
  Statuses early(exchange, request->stream);
  if (request->made_of.modelfile.from.empty() && request->made_of.files.empty()) {
    return early.fail(400, "neither 'from' or 'files' was specified");
  }
  for (const std::string& from : request->made_of.modelfile.from) {  // a name: no paths of this machine
    if (!ModelName::parse(from)) return early.fail(400, fmt::format("name \"{}\" is invalid", from));
  }
  // Minutes, maybe (FROM may be a model that has to be pulled): not on the threads that answer everybody.
  app.slow_workers().post(
      [&app, exchange, name = *name, request = std::make_shared<OllamaCreate>(std::move(*request))] {
        Teller teller(exchange, request->stream, "copying");
        const Status status = create_model(app.store(), name, request->made_of, teller);
        if (status.ok()) return teller.statuses().succeed();
        teller.statuses().fail(http_status(status.error().code), for_clients(status.error()).message);
      });
}

PullOptions pull_options(const OllamaNames& request) {
  PullOptions options;
  options.http.plain_http = request.insecure || asks_for_plain_http(request.model);
  return options;
}

void pull(App& app, const ExchangePtr& exchange) {
  const auto request = parse_ollama_names(exchange->request().body, "PullRequest");
  if (!request) return refuse(exchange, request.error());
  const auto name = ModelName::parse(request->model);
  if (!name) return exchange->respond(ollama_error(400, "invalid model name"));
  app.slow_workers().post([&app, exchange, name = *name, request = *request] {
    Teller teller(exchange, request.stream, "pulling");
    const Status status = carat::pull(app.store(), name, teller, pull_options(request));
    if (status.ok()) return teller.statuses().succeed();
    teller.statuses().fail(500, fmt::format("pull model manifest: {}", for_clients(status.error()).message));
  });
}

void push(App& app, const ExchangePtr& exchange) {
  const auto request = parse_ollama_names(exchange->request().body, "PushRequest");
  if (!request) return refuse(exchange, request.error());
  const auto name = ModelName::parse(request->model);
  if (!name) return exchange->respond(ollama_error(400, "invalid model name"));
  app.slow_workers().post([&app, exchange, name = *name, request = *request] {
    Teller teller(exchange, request.stream, "pushing");
    const Status status = carat::push(app.store(), name, teller, pull_options(request));
    if (status.ok()) return teller.statuses().succeed();
    teller.statuses().fail(status.error().code == ErrorCode::kNotFound ? 404 : 500,
                           for_clients(status.error()).message);
  });
}

void blob_there(App& app, const ExchangePtr& exchange) {
  const auto digest = Digest::parse(path_tail(exchange->request(), "/api/blobs/"));
  if (!digest) return exchange->respond(ollama_error(400, "invalid digest format"));
  std::error_code ignored;
  if (std::filesystem::exists(app.store().blobs().path_of(*digest), ignored)) {
    return exchange->respond({200, "", "", {}});
  }
  exchange->respond(ollama_error(404, fmt::format("blob {} not found", digest->text())));
}

// A blob on its way into the store: written and hashed while it comes, however large it is.
struct Upload {
  ~Upload() {
    if (writer && !stored) writer->discard();
  }
  Digest digest;
  std::optional<BlobWriter> writer;  // none: it is there already
  Status status;
  bool stored = false;
};

BodyRule blob_body(App& app, HttpRequest& request) {
  BodyRule rule;
  const auto digest = Digest::parse(path_tail(request, "/api/blobs/"));
  if (!digest) {
    rule.refuse = ollama_error(400, "invalid digest format");
    return rule;
  }
  const auto upload = std::make_shared<Upload>();
  upload->digest = *digest;
  std::error_code ignored;
  if (!std::filesystem::exists(app.store().blobs().path_of(*digest), ignored)) {
    auto writer = app.store().blobs().create();
    if (!writer) {
      rule.refuse = ollama_error(writer.error());
      return rule;
    }
    upload->writer.emplace(std::move(*writer));
  }
  rule.limit_bytes = size_t{1} << 40;
  rule.sink = [upload](std::string_view part) {
    if (upload->writer) upload->status = upload->writer->write(std::as_bytes(std::span(part)));
    return upload->status.ok();
  };
  request.upload = upload;
  return rule;
}

void blob_put(App&, const ExchangePtr& exchange) {
  Upload& upload = *static_cast<Upload*>(exchange->request().upload.get());
  if (!upload.writer) return exchange->respond({200, "", "", {}});
  if (!upload.status.ok()) return refuse(exchange, upload.status.error());
  const Digest got = upload.writer->digest();
  if (!(got == upload.digest)) {
    return exchange->respond(ollama_error(
        400, fmt::format("digest mismatch, expected \"{}\", got \"{}\"", upload.digest.text(), got.text())));
  }
  const auto stored = upload.writer->commit();
  if (!stored) return refuse(exchange, stored.error());
  upload.stored = true;
  exchange->respond({201, "", "", {}});
}

}  // namespace

void add_ollama_store_routes(Router& router) {
  router.add({"GET", "/api/tags", tags, true, false, false, false, "The models in the store (Ollama)"});
  router.add({"GET", "/api/ps", ps, false, false, false, false, "The models in memory (Ollama)"});
  router.add({"POST", "/api/show", show, false, false, false, false, "What a model is (Ollama)"});
  router.add({"POST", "/api/copy", copy, false, false, false, false, "Another name for a model (Ollama)"});
  router.add(
      {"DELETE", "/api/delete", remove, false, false, false, false, "Removes a name and what only it uses (Ollama)"});
  router.add(
      {"POST", "/api/create", create, false, false, false, false, "A model from another one, or from files (Ollama)"});
  router.add({"POST", "/api/pull", pull, false, false, false, false, "Fetches a model (Ollama)"});
  router.add({"POST", "/api/push", push, false, false, false, false, "Sends a model to a registry (Ollama)"});
  router.add(
      {"HEAD", "/api/blobs/*", blob_there, false, false, false, false, "Whether a blob is in the store (Ollama)"});
  router.add(
      {"POST", "/api/blobs/*", blob_put, false, false, false, false, "Puts a blob into the store (Ollama)", blob_body});
}

}  // namespace carat::server
