// Which function answers which method and path.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "server/http_server.h"

namespace carat::server {

class App;

struct Route {
  // Runs on a worker, or on the network thread where `quick`: then it must not wait for anything.
  using Handler = void (*)(App& app, const ExchangePtr& exchange);

  std::string_view method;  // GET answers HEAD too where `head`
  std::string_view path;    // "/api/tags"; "/v1/models/*" matches anything that is not empty in place of the star
  Handler handler;
  bool head = false;
  bool quick = false;
  bool open = false;              // needs no API key
  bool images = false;            // the larger limit of the body
  std::string_view summary = {};  // for /openapi.json
  // Where a large body goes while it comes; none: into the request, within the limit.
  BodyRule (*body)(App& app, HttpRequest& request) = nullptr;
};

class Router {
 public:
  void add(const Route& route) { routes_.push_back(route); }
  const std::vector<Route>& routes() const { return routes_; }

  struct Match {
    const Route* route = nullptr;  // null: see allow
    std::string allow;             // methods that the path has, "HEAD, GET"; empty: there is no such path
  };
  Match find(std::string_view method, std::string_view path) const;

 private:
  std::vector<Route> routes_;
};

// What the star of the route's path stands for.
std::string path_tail(const HttpRequest& request, std::string_view prefix);

}  // namespace carat::server
