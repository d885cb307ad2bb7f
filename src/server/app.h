// The server as its handlers see it: options, store, models, workers, metrics and the network, tied together.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "server/gate.h"
#include "server/http_server.h"
#include "server/media.h"
#include "server/metrics.h"
#include "server/models.h"
#include "server/router.h"
#include "server/workers.h"

namespace carat::server {

// Whose words are used where both APIs have the same path: Ollama's daemon, or `vllm serve MODEL`.
enum class Flavor { kOllama, kVllm };

struct ServeOptions {
  HttpServerOptions http;
  ModelsOptions models;
  GateOptions gate;
  ApiKeys keys;
  Flavor flavor = Flavor::kOllama;
  std::string model;                      // of kVllm: what is served
  std::vector<std::string> served_names;  // and under which names; its own if empty
  std::string version = "0.0.0";
  int32_t max_logprobs = 20;
  MediaOptions media;  // pictures that a request names instead of bringing
  size_t body_bytes = 8 << 20, image_body_bytes = 64 << 20;
  std::chrono::milliseconds drain_timeout{30'000};
  bool share = false;         // the store is a registry too, that needs no key
  bool open_metrics = false;  // /metrics needs no key
  // One line of JSON about each request, without what was said; none: no log. Network thread.
  std::function<void(const std::string& line)> log;
  // What a service manager wants to know: ready when it listens, stopping, and every 200 ms that the network thread is
  // alive. Network thread.
  enum class State { kReady, kAlive, kStopping };
  std::function<void(State)> notify;
  // What a person wants to know: "listening on ...". Network thread.
  std::function<void(const std::string& line)> tell;
};

class App {
 public:
  // Listens, and loads the model of kVllm before it accepts anybody.
  // Errors: those of HttpServer::listen and Models::acquire.
  static Result<std::unique_ptr<App>> create(ServeOptions options, Store store);
  ~App();

  // Serves until SIGTERM or SIGINT: then drains, and a second one stops at once. Or until the device is lost (backend.h).
  void run();

  const ServeOptions& options() const { return options_; }
  Flavor flavor() const { return options_.flavor; }
  const Store& store() const { return store_; }
  Models& models() { return *models_; }
  Workers& workers() { return *workers_; }
  Workers& slow_workers() { return *slow_workers_; }  // for what takes minutes
  Metrics& metrics() { return metrics_; }
  HttpServer& http() { return *http_; }
  const Router& router() const { return router_; }
  bool draining() const { return draining_; }
  int32_t requests_in_progress() const { return in_progress_; }
  std::string metrics_text();  // network thread

 private:
  App(ServeOptions options, Store store);
  Status open();
  BodyRule on_header(HttpRequest& request);
  void on_request(const ExchangePtr& exchange);
  void on_done(const HttpServer::Hooks::Done& done);
  void on_signal();
  void on_lost_device(const std::string& why);

  ServeOptions options_;
  Store store_;
  Gate gate_;
  Router router_;
  Metrics metrics_;
  std::unique_ptr<HttpServer> http_;
  std::unique_ptr<Workers> workers_, slow_workers_, file_workers_;
  std::unique_ptr<Models> models_;
  std::atomic<bool> draining_{false};
  std::atomic<int32_t> in_progress_{0};
};

// Each file of handlers adds its own routes.
void add_info_routes(Router& router);
void add_ollama_routes(Router& router);
void add_ollama_store_routes(Router& router);
void add_registry_routes(Router& router);
void add_openai_routes(Router& router);
void add_responses_routes(Router& router);
void add_anthropic_routes(Router& router);

}  // namespace carat::server
