// Writes a fuzz target's seeds into a directory, where libFuzzer starts from: fuzz_x_seeds DIRECTORY
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "fuzz.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
    return 2;
  }
  const std::filesystem::path directory = argv[1];
  std::filesystem::create_directories(directory);
  int number = 0;
  for (const std::string& seed : fuzz_seeds()) {
    std::ofstream(directory / ("seed" + std::to_string(number++)), std::ios::binary) << seed;
  }
  return 0;
}
