#include "server/router.h"

namespace carat::server {
namespace {

bool matches(std::string_view pattern, std::string_view path) {
  if (!pattern.ends_with('*')) return pattern == path;
  pattern.remove_suffix(1);
  return path.size() > pattern.size() && path.starts_with(pattern);
}

}  // namespace

Router::Match Router::find(std::string_view method, std::string_view path) const {
  Match match;
  const Route* by_head = nullptr;
  std::string_view exact;  // an exact path hides the star's
  for (const Route& route : routes_) {
    if (!route.path.ends_with('*') && matches(route.path, path)) exact = route.path;
  }
  for (const Route& route : routes_) {
    if (!matches(route.path, path) || (!exact.empty() && route.path != exact)) continue;
    if (route.method == method) match.route = &route;
    if (route.head && route.method == "GET") {
      if (method == "HEAD") by_head = &route;
      match.allow += match.allow.empty() ? "HEAD" : ", HEAD";
    }
    match.allow += match.allow.empty() ? "" : ", ";
    match.allow += route.method;
  }
  if (match.route == nullptr) match.route = by_head;
  return match;
}

std::string path_tail(const HttpRequest& request, std::string_view prefix) {
  return request.path.substr(std::min(prefix.size(), request.path.size()));
}

}  // namespace carat::server
