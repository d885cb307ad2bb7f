#include "server/openapi.h"

#include <fmt/format.h>

#include <map>

#include "server/app.h"
#include "server/json_text.h"
#include "server/known_fields.h"
#include "server/ollama_requests.h"
#include "server/openai_requests.h"

namespace carat::server {
namespace {

// "/v1/models/*" as OpenAPI writes it.
std::string template_of(std::string_view path) {
  std::string text(path);
  if (text.ends_with('*')) text.replace(text.size() - 1, 1, "{name}");
  return text;
}

std::string lower(std::string_view method) {
  std::string text(method);
  for (char& c : text) c = static_cast<char>(c | 0x20);
  return text;
}

std::string escaped_html(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '<')
      out += "&lt;";
    else if (c == '&')
      out += "&amp;";
    else
      out += c;
  }
  return out;
}

// What the parser of each body makes of an empty one: only what it looks for matters.
using Parse = void (*)();
template <class T>
void ignore(const T&) {}
const std::map<std::string_view, Parse>& parsers() {
  constexpr Flavor kAny = Flavor::kVllm;
  static const std::map<std::string_view, Parse> all{
      {"/v1/chat/completions", [] { ignore(parse_chat(kAny, "{}", 20)); }},
      {"/v1/completions", [] { ignore(parse_completion(kAny, "{}", 20)); }},
      {"/v1/responses", [] { ignore(parse_responses(kAny, "{}", 20)); }},
      {"/v1/messages", [] { ignore(parse_messages(kAny, "{}", false)); }},
      {"/v1/messages/count_tokens", [] { ignore(parse_messages(kAny, "{}", true)); }},
      {"/v1/embeddings", [] { ignore(parse_embeddings(kAny, "{}")); }},
      {"/tokenize", [] { ignore(parse_tokenize(kAny, "{}", false)); }},
      {"/detokenize", [] { ignore(parse_tokenize(kAny, "{}", true)); }},
      {"/api/generate", [] { ignore(parse_ollama_generate("{}")); }},
      {"/api/chat", [] { ignore(parse_ollama_chat("{}")); }},
      {"/api/embed", [] { ignore(parse_ollama_embed("{}", false)); }},
      {"/api/embeddings", [] { ignore(parse_ollama_embed("{}", true)); }},
      {"/api/create", [] { ignore(parse_ollama_create("{}")); }},
      {"/api/show", [] { ignore(parse_ollama_names("{}", "ShowRequest")); }},
      {"/api/copy", [] { ignore(parse_ollama_names("{}", "CopyRequest")); }},
      {"/api/delete", [] { ignore(parse_ollama_names("{}", "DeleteRequest")); }},
      {"/api/pull", [] { ignore(parse_ollama_names("{}", "PullRequest")); }},
      {"/api/push", [] { ignore(parse_ollama_names("{}", "PushRequest")); }}};
  return all;
}

void write_body(JsonWriter& json, const Route& route) {
  const auto parser = parsers().find(route.path);
  if (parser == parsers().end()) {
    if (route.body == nullptr) return;  // it takes none
    json.key("requestBody").begin_object().key("content").begin_object().key("application/octet-stream");
    json.begin_object().end_object().end_object().end_object();
    return;
  }
  const FieldNotes notes;
  parser->second();
  json.key("requestBody").begin_object().field("required", true).key("content").begin_object().key("application/json");
  json.begin_object().key("schema").begin_object().field("type", "object").key("properties").begin_object();
  for (const KnownField& field : notes.fields()) json.raw_field(field.name, field.schema);
  json.end_object().key("required").begin_array();
  for (const KnownField& field : notes.fields()) {
    if (field.required) json.value(field.name);
  }
  json.end_array().end_object().end_object().end_object().end_object();
}

std::string fields_text(const Route& route) {
  const auto parser = parsers().find(route.path);
  if (parser == parsers().end()) return "";
  const FieldNotes notes;
  parser->second();
  std::string text;
  for (const KnownField& field : notes.fields()) {
    text += fmt::format("{}<code>{}</code>{}", text.empty() ? "" : ", ", field.name, field.required ? " (needed)" : "");
  }
  return text;
}

}  // namespace

std::string openapi_json(const App& app) {
  std::map<std::string, std::vector<const Route*>> paths;
  for (const Route& route : app.router().routes()) paths[template_of(route.path)].push_back(&route);
  JsonWriter json;
  json.begin_object().field("openapi", "3.1.0").key("info").begin_object();
  json.field("title", "Carat").field("version", app.options().version);
  json.field("description", "Gemma 3 behind Ollama's, OpenAI's (as vLLM serves it) and Anthropic's interfaces.");
  json.end_object().key("paths").begin_object();
  for (const auto& [path, routes] : paths) {
    json.key(path).begin_object();
    for (const Route* route : routes) {
      json.key(lower(route->method)).begin_object().field("summary", route->summary);
      if (path.ends_with('}')) {
        json.key("parameters").begin_array().begin_object().field("name", "name").field("in", "path");
        json.field("required", true).key("schema").begin_object().field("type", "string").end_object();
        json.end_object().end_array();
      }
      if (route->method == "POST" || route->method == "DELETE") write_body(json, *route);
      json.key("responses").begin_object().key("200").begin_object().field("description", "OK").end_object();
      json.key("default").begin_object().field("description", "An error").end_object().end_object();
      if (route->open) json.key("security").begin_array().end_array();
      json.end_object();
    }
    json.end_object();
  }
  json.end_object().key("components").begin_object().key("securitySchemes").begin_object().key("key").begin_object();
  json.field("type", "http").field("scheme", "bearer").end_object().end_object().end_object();
  json.key("security").begin_array().begin_object().key("key").begin_array().end_array().end_object().end_array();
  json.end_object();
  return json.take();
}

std::string docs_page(const App& app) {
  std::string rows;
  for (const Route& route : app.router().routes()) {
    rows += fmt::format("<tr><td>{}<td><code>{}</code><td>{}<td>{}\n", route.method, template_of(route.path),
                        escaped_html(route.summary), fields_text(route));
  }
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Carat {0}</title>\n"
      "<h1>Carat {0}</h1>\n<p>The same as <a "
      "href=\"/openapi.json\">/openapi.json</a>.\n<table>\n{1}</table>\n</html>\n",
      app.options().version, rows);
}

}  // namespace carat::server
