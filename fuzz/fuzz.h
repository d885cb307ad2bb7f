// What a fuzz target is: one function that takes any bytes and must neither crash, leak, hang nor read outside of them,
// and a few seeds that get a fuzzer past the first checks. The same target serves libFuzzer (./dev fuzz) and a short
// deterministic run in the tests (smoke_main.cc).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

// Well-formed inputs, small ones: what gets mutated.
std::vector<std::string> fuzz_seeds();
