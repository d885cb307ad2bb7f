// What the server offers, described from its own table of routes.
#pragma once

#include <string>

namespace carat::server {

class App;

std::string openapi_json(const App& app);
std::string docs_page(const App& app);

}  // namespace carat::server
