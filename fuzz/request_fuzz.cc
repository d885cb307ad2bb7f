// What clients send: a request's bytes, the same wherever the network cuts them; its body as JSON, by every parser of the
// three APIs. What is accepted lies within its limits, and no error's text breaks a line of JSON.
#include <cstdio>
#include <string>
#include <string_view>

#include "fuzz.h"
#include "server/json_body.h"
#include "server/keep_alive.h"
#include "server/ollama_requests.h"
#include "server/openai_requests.h"
#include "server/request_parser.h"

namespace {

using namespace carat;
using namespace carat::server;

constexpr HttpLimits kLimits{2048, 0};
constexpr size_t kBody = 4096;
constexpr std::string_view kRefused = "refused", kMore = "more";

void demand(bool condition, int line = __builtin_LINE()) {
  if (condition) return;
  std::fprintf(stderr, "request_fuzz.cc:%d: a demand does not hold\n", line);
  __builtin_trap();
}

// What came of it, to compare.
std::string read_in_pieces(std::string_view bytes, size_t step) {
  RequestParser parser(kLimits);
  std::string held;
  for (size_t at = 0; at < bytes.size() && !parser.done() && parser.failed() == 0; at += step) {
    held += bytes.substr(at, step);
    while (!held.empty() && parser.failed() == 0 && !parser.done()) {
      const bool had_header = parser.has_header();
      const size_t used = parser.put(held);
      demand(used <= held.size());
      held.erase(0, used);
      if (!had_header && parser.failed() == 0 && parser.has_header() && parser.has_body())
        parser.set_body(kBody, nullptr);
      if (used == 0) break;
    }
  }
  if (parser.failed() != 0) {
    demand(parser.failed() >= 400 && parser.failed() < 600 && *parser.problem() != '\0');
    return std::string(kRefused);
  }
  if (!parser.done()) return std::string(kMore);
  const server::HttpRequest& request = parser.request();
  demand(request.body.size() <= kBody && request.target.size() <= kLimits.header_bytes);
  demand(request.path.find('\0') == std::string::npos);
  return request.method + ' ' + request.path + ' ' + std::string(request.header("host")) + ' ' + request.body;
}

template <class T>
void openai(const Parsed<T>& parsed) {
  demand(!parsed.malformed || parsed.error);
  if (!parsed.error) return;
  demand(parsed.error->status >= 400 && parsed.error->status < 500 && !parsed.error->message.empty());
}

template <class T>
void ollama(const Result<T>& parsed) {
  if (!parsed.ok()) demand(!parsed.error().message.empty());
}

void as_body(const std::string& body) {
  for (const Flavor flavor : {Flavor::kVllm, Flavor::kOllama}) {
    const auto chat = parse_chat(flavor, body, 20);
    openai(chat);
    if (!chat.error) {
      demand(chat.request.messages.size() <= static_cast<size_t>(kMostMessages) && chat.request.n <= kMostChoices);
      demand(chat.request.sampling.stops.size() <= static_cast<size_t>(kMostStops));
      chat::GenerationOptions options;
      if (!apply_sampling(options, chat.request.sampling, 1000)) {
        demand(validate(options.sampling, 1000).ok());
      }
    }
    openai(parse_completion(flavor, body, 20));
    openai(parse_responses(flavor, body, 20));
    openai(parse_messages(flavor, body, false));
    openai(parse_tokenize(flavor, body, false));
    openai(parse_tokenize(flavor, body, true));
    openai(parse_embeddings(flavor, body));
  }
  const auto generate = parse_ollama_generate(body);
  ollama(generate);
  if (generate.ok()) {
    chat::GenerationOptions options;
    (void)apply_ollama_options(options, generate->options).ok();
    demand(generate->top_logprobs >= 0 && generate->top_logprobs <= 20);
  }
  ollama(parse_ollama_chat(body));
  ollama(parse_ollama_embed(body, false));
  ollama(parse_ollama_create(body));
  for (const char* type : {"ShowRequest", "CopyRequest", "PullRequest"}) ollama(parse_ollama_names(body, type));
  (void)parse_duration(body.substr(0, 40)).ok();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const std::string whole = read_in_pieces(text, text.size() + 1);
  for (const size_t step : {size_t{1}, size_t{7}}) {
    const std::string pieces = read_in_pieces(text, step);
    // What is wrong in headers that have not ended may be seen now or when they do.
    demand(pieces == whole || (whole == kRefused && pieces == kMore) || (whole == kMore && pieces == kRefused));
  }
  const size_t body = text.find("\r\n\r\n");
  as_body(body == std::string::npos ? text : text.substr(body + 4));
  return 0;
}

std::vector<std::string> fuzz_seeds() {
  const auto post = [](const std::string& body) {
    return "POST /v1/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
           body;
  };
  return {
      "GET /api/version HTTP/1.1\r\nHost: localhost\r\nX: a b\r\n\r\n",
      ("POST /a%20b?c HTTP/1.1\r\nHost: [::1]:80\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
       "3;x=y\r\n{\"a\r\n3\r\n\":1\r\n1\r\n}\r\n0\r\nT: v\r\n\r\n"),
      post(R"({"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"x"},{"type":"image_url",)"
           R"("image_url":{"url":"data:image/png;base64,AAAA"}}]},{"role":"assistant","content":null,"tool_calls":)"
           R"([{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool",)"
           R"("tool_call_id":"c","content":"1"}],"tools":[{"type":"function","function":{"name":"f","parameters":)"
           R"({"type":"object"}}}],"tool_choice":"auto","logit_bias":{"5":-1},"stop":["a"],"n":2,"seed":1,)"
           R"("stream":true,"stream_options":{"include_usage":true},"response_format":{"type":"json_object"}})"),
      post(R"({"model":"m","prompt":[[1,2],"a"],"max_tokens":5,"temperature":0.5,"top_k":3,"logprobs":2,"echo":true,)"
           R"("allowed_token_ids":[1],"bad_words":["x"],"structured_outputs":{"choice":["a","b"]},"suffix":""})"),
      post(R"({"model":"m","prompt":"a","options":{"temperature":1,"stop":["x"],"num_ctx":5},"format":{"type":)"
           R"("object"},"keep_alive":"5m","context":[1],"images":["AAAA"],"system":"s","template":"{{ .Prompt }}"})"),
      post(R"({"model":"m","input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"x"}]},)"
           R"({"type":"function_call","call_id":"1","name":"f","arguments":"{}"},{"type":"function_call_output",)"
           R"("call_id":"1","output":"2"}],"text":{"format":{"type":"text"}},"max_output_tokens":5})"),
      post(R"({"model":"m","max_tokens":5,"system":[{"type":"text","text":"s"}],"messages":[{"role":"user","content":)"
           R"([{"type":"tool_result","tool_use_id":"1","content":"x"}]}],"tools":[{"name":"f","input_schema":{}}]})"),
      post(R"({"model":"m","from":"g","files":{"a.gguf":"sha256:00"},"parameters":{"stop":["x"],"seed":1},"license":)"
           R"(["l"],"messages":[{"role":"user","content":"x"}],"source":"a","destination":"b","quantize":"q4_0"})")};
}
