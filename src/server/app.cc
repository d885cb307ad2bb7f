#include "server/app.h"

#include <fmt/format.h>
#include <unistd.h>

#include <fstream>
#include <future>

#include "server/errors.h"
#include "server/request_log.h"

namespace carat::server {
namespace {

constexpr std::chrono::milliseconds kTick{200};
// For answers that the requests failed, with a device that is lost.
constexpr std::chrono::milliseconds kLostDrain{5'000};

uint64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  uint64_t total = 0, resident = 0;
  statm >> total >> resident;
  return resident * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

HttpResponse unauthorized(Flavor flavor, std::string_view path) {
  HttpResponse response = path.starts_with("/v1/messages") ? anthropic_error(401, "invalid x-api-key")
                          : flavor == Flavor::kVllm        ? json_response("{\"error\":\"Unauthorized\"}", 401)
                          : path.starts_with("/v1/")       ? openai_error(flavor, {401, "invalid API key", "", ""})
                                                           : ollama_error(401, "unauthorized");
  response.headers.emplace_back("WWW-Authenticate", "Bearer");
  return response;
}

HttpResponse no_such_path(Flavor flavor, std::string_view path) {
  if (flavor == Flavor::kVllm && !path.starts_with("/api/")) {
    return {404, "application/json", "{\"detail\":\"Not Found\"}", {}};
  }
  return {404, "text/plain", "404 page not found", {}};
}

HttpResponse no_such_method(Flavor flavor, std::string_view path, const std::string& allow) {
  if (flavor == Flavor::kVllm && !path.starts_with("/api/")) {
    return {405, "application/json", "{\"detail\":\"Method Not Allowed\"}", {{"Allow", allow}}};
  }
  return {405, "text/plain", "405 method not allowed", {{"Allow", allow}}};
}

// A page of another site can send these without asking first; JSON it cannot.
bool is_form_type(std::string_view type) {
  return type.starts_with("text/plain") || type.starts_with("application/x-www-form-urlencoded") ||
         type.starts_with("multipart/form-data");
}

}  // namespace

App::App(ServeOptions options, Store store)
    : options_(std::move(options)), store_(std::move(store)), gate_(options_.gate, options_.keys) {
  add_info_routes(router_);
  add_ollama_routes(router_);
  add_ollama_store_routes(router_);
  if (options_.share) add_registry_routes(router_);
  add_openai_routes(router_);
  add_responses_routes(router_);
  add_anthropic_routes(router_);
}

App::~App() {
  if (models_) models_->shutdown();
  if (slow_workers_) slow_workers_->finish();
  if (workers_) workers_->finish();
  if (file_workers_) file_workers_->finish();
  models_.reset();
}

Result<std::unique_ptr<App>> App::create(ServeOptions options, Store store) {
  std::unique_ptr<App> app(new App(std::move(options), std::move(store)));
  CARAT_CHECK(app->open());
  return app;
}

Status App::open() {
  HttpServer::Hooks hooks;
  hooks.on_header = [this](HttpRequest& request) { return on_header(request); };
  hooks.on_request = [this](const ExchangePtr& exchange) { on_request(exchange); };
  hooks.on_done = [this](const HttpServer::Hooks::Done& done) { on_done(done); };
  hooks.in_background = [this](std::function<void()> task) { file_workers_->post(std::move(task)); };
  CARAT_TRY(http_, HttpServer::listen(options_.http, std::move(hooks)));
  workers_ = std::make_unique<Workers>(4);
  slow_workers_ = std::make_unique<Workers>(2);
  file_workers_ = std::make_unique<Workers>(2);
  Generations::Observer observer;
  observer.on_end = [this](const GenerationEnd& end, double first, double all) {
    metrics_.request_ended(end, first, all);
  };
  observer.on_token_gap = [this](double seconds) { metrics_.token_gap(seconds); };
  if (options_.tell) {
    options_.models.tell = [this](const std::string& line) { http_->post([this, line] { options_.tell(line); }); };
  }
  models_ = std::make_unique<Models>(
      store_, *workers_, options_.models, [this](std::function<void()> task) { http_->post(std::move(task)); },
      std::move(observer));
  if (!options_.model.empty()) {
    models_->pin(options_.model, options_.served_names.empty() ? std::vector{options_.model} : options_.served_names);
    std::promise<Status> loaded;
    models_->acquire(models_->pinned_names()[0], 0, std::nullopt,
                     [&](Result<Lease> lease) { loaded.set_value(lease ? Status() : Status(lease.error())); });
    CARAT_CHECK(loaded.get_future().get());
  }
  http_->every(kTick, [this] {
    models_->expire();
    gate_.keys().reload_if_changed();
    if (const auto lost = lost_device(); lost && !draining_) on_lost_device(*lost);
    if (options_.notify) options_.notify(ServeOptions::State::kAlive);
  });
  http_->on_signal([this](int) { on_signal(); });
  return {};
}

void App::run() {
  if (options_.tell) options_.tell(fmt::format("listening on {}", http_->url()));
  if (options_.notify) options_.notify(ServeOptions::State::kReady);
  http_->run();
}

void App::on_signal() {
  if (draining_.exchange(true)) return http_->stop();
  if (options_.notify) options_.notify(ServeOptions::State::kStopping);
  if (options_.tell) {
    options_.tell(fmt::format("stopping: {} requests in progress; a second signal stops at once", in_progress_.load()));
  }
  http_->drain(options_.drain_timeout);
}

// Every request fails by itself now; nothing new is taken, and the caller of run() ends the process.
void App::on_lost_device(const std::string& why) {
  draining_ = true;
  if (options_.notify) options_.notify(ServeOptions::State::kStopping);
  if (options_.tell) options_.tell(fmt::format("stopping: {}", why));
  http_->drain(std::min<std::chrono::milliseconds>(options_.drain_timeout, kLostDrain));
}

BodyRule App::on_header(HttpRequest& request) {
  BodyRule rule;
  const std::string_view host = request.header("host"), origin = request.header("origin");
  if (!gate_.host_is_allowed(host) || !gate_.origin_is_allowed(origin, host)) {
    rule.refuse = HttpResponse{403, "", "", {}};
    return rule;
  }
  const Router::Match match = router_.find(request.method, request.path);
  if (request.method == "OPTIONS" && !match.allow.empty()) {
    rule.refuse = gate_.preflight(request, match.allow);
    return rule;
  }
  request.reply_headers = gate_.cors_headers(request);
  const auto refuse = [&](HttpResponse response) {
    rule.refuse = std::move(response);
    return rule;
  };
  const bool open =
      match.route != nullptr && (match.route->open || (options_.open_metrics && request.path == "/metrics"));
  if (!gate_.keys().empty() && !open) {
    const auto key = gate_.keys().check(Gate::key_of(request));
    if (!key) return refuse(unauthorized(options_.flavor, request.path));
    request.account = key->hex();
  }
  if (match.route == nullptr) {
    return refuse(match.allow.empty() ? no_such_path(options_.flavor, request.path)
                                      : no_such_method(options_.flavor, request.path, match.allow));
  }
  if (draining_ && !match.route->open) {
    HttpResponse response = error_for_path(options_.flavor, request.path, 503, "the server is shutting down");
    response.headers.emplace_back("Retry-After", "5");
    return refuse(std::move(response));
  }
  if (request.method == "POST" && is_form_type(request.header("content-type")) &&
      (!origin.empty() || !request.header("sec-fetch-site").empty())) {
    return refuse(error_for_path(options_.flavor, request.path, 415, "Content-Type must be application/json"));
  }
  if (const std::string_view encoding = request.header("content-encoding");
      !encoding.empty() && encoding != "identity") {
    return refuse(error_for_path(options_.flavor, request.path, 415, "a body is taken as it is: no Content-Encoding"));
  }
  if (options_.flavor == Flavor::kVllm && request.method == "POST" && request.path.starts_with("/v1/") &&
      !request.header("content-type").starts_with("application/json") && !request.header("content-type").empty()) {
    const std::string what = "Unsupported Media Type: Only 'application/json' is allowed";
    return refuse(openai_error(options_.flavor,
                               {400, fmt::format("1 validation error:\n  {0} [\"{0}\"]", what), "", "Bad Request"}));
  }
  if (match.route->body != nullptr) {
    rule = match.route->body(*this, request);
    return rule.refuse ? refuse(std::move(*rule.refuse)) : std::move(rule);
  }
  rule.limit_bytes = match.route->images ? options_.image_body_bytes : options_.body_bytes;
  return rule;
}

void App::on_request(const ExchangePtr& exchange) {
  ++in_progress_;
  exchange->request().dispatched = true;
  const Router::Match match = router_.find(exchange->request().method, exchange->request().path);
  if (match.route->quick) return match.route->handler(*this, exchange);
  workers_->post([this, exchange, handler = match.route->handler] {
    try {
      handler(*this, exchange);
    } catch (
        const std::exception&) {  // of memory that is not there, or of a library: this request's end, nobody else's
      exchange->respond(error_for_path(options_.flavor, exchange->request().path, 500, "internal error"));
    }
  });
}

void App::on_done(const HttpServer::Hooks::Done& done) {
  if (done.request.dispatched) --in_progress_;
  metrics_.http_answered(done.status);
  if (!done.complete) metrics_.client_left();
  if (options_.log) options_.log(request_log_line(done));
}

std::string App::metrics_text() {
  Gauges gauges;
  std::string name = options_.flavor == Flavor::kVllm ? models_->pinned_names()[0] : "";
  for (const LoadedModelInfo& model : models_->loaded()) {
    if (name.empty()) name = model.name;
    gauges.running += model.load.running;
    gauges.waiting += model.load.waiting;
    gauges.steps += model.load.steps;
    gauges.preemptions += model.load.preemptions;
    gauges.kv_usage = std::max(gauges.kv_usage, model.kv_usage);
    ++gauges.models;
  }
  gauges.connections = http_->connections();
  gauges.resident_bytes = resident_bytes();
  return metrics_.text(name, gauges);
}

}  // namespace carat::server
