// Embeddings: the hidden state of a text's last token, after the final norm, cut to the wanted dimensions and of length
// one. What vLLM makes of a model that was not trained for it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "server/app.h"

namespace carat::server {

struct Embeddings {
  std::vector<std::vector<float>> vectors;
  int64_t prompt_tokens = 0;
  double seconds = 0;  // of computing
};

// Computes one for each prompt and calls `done` once, on the network thread, or with an error on any.
// Errors: kTooLong, kInvalidArgument (more dimensions than there are), kCancelled when the client left; kOutOfMemory
// stands for a full queue.
void embed(const Lease& model, const ExchangePtr& exchange, std::vector<std::vector<int32_t>> prompts,
           int32_t dimensions, std::function<void(Result<Embeddings>)> done);

// Four bytes a number, little-endian, in base64: OpenAI's other form.
std::string base64_floats(const std::vector<float>& values);

}  // namespace carat::server
