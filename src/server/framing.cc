#include "server/framing.h"

namespace carat::server {

std::string ndjson_line(std::string_view json) { return std::string(json) += '\n'; }

std::string sse_data(std::string_view json) { return (std::string("data: ") += json) += "\n\n"; }

std::string sse_event(std::string_view event, std::string_view json) {
  return (((std::string("event: ") += event) += "\ndata: ") += json) += "\n\n";
}

}  // namespace carat::server
