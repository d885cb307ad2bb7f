// What the server says about itself: health, version, metrics, documentation, and who it is at /.
#include <fmt/format.h>

#include "server/app.h"
#include "server/errors.h"
#include "server/json_text.h"
#include "server/openapi.h"
#include "server/web_assets.h"

namespace carat::server {
namespace {

// The file of the page at `path`, if there is one.
bool respond_with_asset(const ExchangePtr& exchange, std::string_view path) {
  for (const WebAsset& asset : web_assets()) {
    if (asset.path != path) continue;
    HttpResponse response{200, std::string(asset.content_type), "", {}};
    response.headers = {{"ETag", std::string(asset.etag)},
                        {"Cache-Control", asset.immutable ? "public, max-age=31536000, immutable" : "no-cache"},
                        {"Content-Security-Policy", std::string(kWebSecurityPolicy)},
                        {"X-Content-Type-Options", "nosniff"},
                        {"Referrer-Policy", "no-referrer"},
                        {"Vary", "Accept"}};
    if (exchange->request().header("if-none-match") == asset.etag) {
      response.status = 304;
    } else {
      response.body = asset.bytes;
    }
    exchange->respond(std::move(response));
    return true;
  }
  return false;
}

// A page for browsers, and for everybody else what clients of Ollama look for.
void root(App&, const ExchangePtr& exchange) {
  if (exchange->request().header("accept").find("text/html") != std::string_view::npos &&
      respond_with_asset(exchange, "/")) {
    return;
  }
  exchange->respond({200, "text/plain; charset=utf-8", "Ollama is running", {}});
}

void asset(App&, const ExchangePtr& exchange) {
  if (!respond_with_asset(exchange, exchange->request().path)) {
    exchange->respond({404, "text/plain", "404 page not found", {}});
  }
}

void health(App& app, const ExchangePtr& exchange) {
  if (app.draining()) return exchange->respond({503, "", "", {{"Retry-After", "5"}}});
  exchange->respond({200, "", "", {}});
}

void version(App& app, const ExchangePtr& exchange) {
  JsonWriter json;
  json.begin_object().field("version", app.options().version).end_object();
  exchange->respond(json_response(json.take()));
}

// What Ollama's clients ask before they offer its cloud: there is none here.
void cloud_status(App&, const ExchangePtr& exchange) {
  exchange->respond(json_response(R"({"cloud":{"disabled":true,"source":"none"}})"));
}

void load(App& app, const ExchangePtr& exchange) {
  exchange->respond(json_response(fmt::format("{{\"server_load\":{}}}", std::max(0, app.requests_in_progress() - 1))));
}

void metrics(App& app, const ExchangePtr& exchange) {
  exchange->respond({200, "text/plain; version=0.0.4; charset=utf-8", app.metrics_text(), {}});
}

void openapi(App& app, const ExchangePtr& exchange) {
  exchange->respond({200, "application/json", openapi_json(app), {}});
}

void docs(App& app, const ExchangePtr& exchange) {
  exchange->respond({200, "text/html; charset=utf-8", docs_page(app), {}});
}

}  // namespace

void add_info_routes(Router& router) {
  router.add({"GET", "/", root, true, true, true, false, "The chat page, or who this is"});
  router.add({"GET", "/web/*", asset, true, true, true, false, "What the chat page needs"});
  router.add({"GET", "/health", health, true, true, true, false, "200 while it takes requests, 503 while it stops"});
  router.add({"GET", "/ping", health, false, true, true, false, "The same as /health"});
  router.add({"POST", "/ping", health, false, true, true, false, "The same as /health"});
  router.add({"GET", "/version", version, false, true, false, false, "Its version"});
  router.add({"GET", "/api/version", version, true, true, false, false, "Its version"});
  router.add({"GET", "/api/status", cloud_status, false, true, false, false, "That there is no cloud behind it"});
  router.add({"GET", "/load", load, false, true, false, false, "Requests in progress"});
  router.add({"GET", "/metrics", metrics, false, true, false, false, "Counters in Prometheus's text format"});
  router.add({"GET", "/openapi.json", openapi, false, true, false, false, "This document"});
  router.add({"GET", "/docs", docs, false, true, false, false, "This document, to read"});
}

}  // namespace carat::server
