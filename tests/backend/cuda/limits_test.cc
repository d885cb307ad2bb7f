// What models of the real shapes take of a Jetson Orin (sm_87), without one: shared memory and registers of a block by the
// compiler's own report, and the device's memory against what was said before anything was loaded.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <filesystem>
#include <fstream>
#include <regex>

#include "backend/backend.h"
#include "backend/cuda/cuda_backend.h"
#include "backend/cuda/dry_device.h"
#include "backend/cuda/forward.h"
#include "model/synth_config.h"
#include "model/tensors.h"

namespace carat {
namespace {

const cuda::DeviceFacts kOrin{"Orin Nano", 8, 7, 8, 163 << 10, uint64_t{8} << 30, uint64_t{8} << 30};
constexpr int32_t kRegistersOfABlock = 65536, kThreadsOfABlock = 1024;

struct Shaped {
  ModelConfig config;
  Weights weights;
};

// A model of zeros that take no memory; `layers` of its layers.
Shaped shaped(std::string_view name, std::string_view type, int layers, int vocabulary) {
  static constexpr size_t kZeros = size_t{2} << 30;
  static void* const zeros = ::mmap(nullptr, kZeros, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  SynthShape shape = *synth_shape(name);
  shape.layers = std::min(layers, shape.layers);
  shape.vocabulary = std::min(vocabulary, shape.vocabulary);
  Shaped m;
  m.config = config_of(shape);
  m.config.is_global = global_layers(shape.layers, shape.layers == 2 ? 2 : 6);
  std::vector<TensorView> views;
  for (const SynthTensor& t : synth_tensors(shape, *weight_recipe(type))) {
    const size_t bytes = *dtype_bytes(t.type, static_cast<uint64_t>(t.rows * t.columns));
    EXPECT_LE(bytes, kZeros);
    views.push_back({t.name, t.type, t.rows, t.columns, {static_cast<const std::byte*>(zeros), bytes}});
  }
  auto bound = bind_tensors(m.config, views, TensorNaming::kGguf, "zeros");
  EXPECT_TRUE(bound.ok()) << bound.error().message;
  m.weights = std::move(*bound);
  return m;
}

// Steps of every kind: what one row takes, few, many; greedy, drawn, changed before.
void run_all_kinds(Backend& backend, const ModelConfig& config, int32_t max_rows) {
  const int32_t pages = 40;
  std::vector<int32_t> table(static_cast<size_t>(pages));
  for (int32_t i = 0; i < pages; ++i) table[static_cast<size_t>(i)] = i;
  SamplingParams greedy, drawn, all;
  greedy.temperature = 0;
  drawn.repetition_penalty = 2;
  drawn.logprobs = true;
  all.top_k = 0;
  all.top_p = 1;
  static_cast<void>(config);
  for (const int32_t rows : {1, 3, 8, 17, 40, 60, 130, max_rows}) {
    for (const SamplingParams* params : {&greedy, &drawn, &all}) {
      std::vector<Row> list;
      for (int32_t i = 0; i < rows; ++i) list.push_back({5, i});
      const SeqRows seq{0, rows, 0, table, table};
      const Output output{rows - 1, OutputKind::kSample, 0, {.params = params}};
      const auto ticket = backend.submit({list, {&seq, 1}, {&output, 1}});
      ASSERT_TRUE(ticket.ok()) << ticket.error().message;
      ASSERT_TRUE(backend.wait(*ticket).ok());
    }
  }
  // Many sequences of a row each, whose keys are several splits.
  std::vector<Row> list;
  std::vector<SeqRows> seqs;
  std::vector<Output> outputs;
  for (int32_t i = 0; i < 256; ++i) {
    list.push_back({5, pages * kPageTokens - 1});
    seqs.push_back({i, i + 1, pages * kPageTokens - 1, table, table});
    outputs.push_back({i, OutputKind::kSample, 0, {.params = &drawn}});
  }
  const auto ticket = backend.submit({list, seqs, outputs});
  ASSERT_TRUE(ticket.ok()) << ticket.error().message;
  ASSERT_TRUE(backend.wait(*ticket).ok());
}

std::vector<std::string> types() {
  return {"f32",  "f16",    "bf16",   "q4_0",   "q4_1", "q5_0",   "q5_1",  "q8_0",
          "q2_k", "q3_k_m", "q4_k_m", "q5_k_m", "q6_k", "iq4_nl", "iq4_xs"};
}

// All launches of all shapes and types, each kernel's largest.
const test::DryRecord& launches_on_orin() {
  static test::DryRecord record;
  if (!record.launched.empty()) return record;
  for (const char* shape : {"270m", "1b", "4b", "12b", "27b"}) {
    for (const std::string& type : types()) {
      if (!weight_recipe(type)) continue;
      const Shaped model = shaped(shape, type, 2, 4096);  // a layer of each kind
      for (const Precision precision : {Precision::kExact, Precision::kFast}) {
        if (precision == Precision::kFast && type != "q4_0" && type != "bf16") continue;
        auto backend = cuda::create_backend_on(test::dry_device(kOrin, record), {"cuda", 0, precision}, model.config,
                                               model.weights);
        EXPECT_TRUE(backend.ok()) << backend.error().message;
        EXPECT_TRUE((*backend)->reserve_kv({40, 40, 2048}).ok());
        run_all_kinds(**backend, model.config, 2048);
      }
    }
  }
  return record;
}

TEST(OrinLimits, NoBlockAsksForMoreSharedMemoryOrThreadsThanThereAre) {
  size_t launched = 0;
  for (const auto& [name, most] : launches_on_orin().launched) {
    EXPECT_LE(most.shared_bytes, kOrin.shared_bytes) << name;
    EXPECT_LE(most.threads, static_cast<uint32_t>(kThreadsOfABlock)) << name;
    launched += most.threads != 0 ? 1 : 0;
  }
  EXPECT_GT(launched, 60u);  // of those that are compiled for each type too
}

struct Report {
  int32_t registers = 0, shared_bytes = 0, spilled_bytes = 0;
};

// What the assembler said of every kernel for an architecture; none where none were compiled.
std::map<std::string, Report> reports(const std::string& arch) {
  std::map<std::string, Report> out;
  const std::regex entry("Compiling entry function '([^']+)' for '" + arch + "a?'"), used("Used ([0-9]+) registers"),
      shared("([0-9]+) bytes smem"), properties("Function properties for (\\S+)"),
      spilled("([0-9]+) bytes spill stores");
  std::error_code none;
  for (const auto& file : std::filesystem::directory_iterator(CARAT_CUDA_REPORTS, none)) {
    if (!file.path().string().ends_with("." + arch + ".cubin.txt")) continue;
    std::ifstream text(file.path());
    std::string line, kernel, function;  // of a kernel, or one that it calls
    std::smatch found;
    while (std::getline(text, line)) {
      if (std::regex_search(line, found, entry)) kernel = found[1];
      if (kernel.empty()) continue;
      if (std::regex_search(line, found, properties)) function = found[1];
      if (function == kernel && std::regex_search(line, found, spilled)) {
        out[kernel].spilled_bytes = std::stoi(found[1]);
      }
      if (std::regex_search(line, found, used)) out[kernel].registers = std::stoi(found[1]);
      if (std::regex_search(line, found, shared)) out[kernel].shared_bytes = std::stoi(found[1]);
    }
  }
  return out;
}

TEST(OrinLimits, TheCompilersReportFitsEveryLaunch) {
  const auto compiled = reports("sm_87");
  if (compiled.empty()) GTEST_SKIP() << "no kernels were compiled for sm_87";
  size_t looked_at = 0;
  for (const auto& [name, most] : launches_on_orin().launched) {
    const auto report = compiled.find(name);
    ASSERT_NE(report, compiled.end()) << name << " is launched, and was not compiled for sm_87";
    if (most.threads == 0) continue;
    const Report& r = report->second;
    EXPECT_GT(r.registers, 0) << name;
    const int32_t of_a_warp = (r.registers * 32 + 255) / 256 * 256;  // they are given out by 256
    const auto warps = static_cast<int32_t>((most.threads + 31) / 32);
    EXPECT_LE(of_a_warp * ((warps + 3) / 4 * 4), kRegistersOfABlock) << name << ": " << r.registers << " registers";
    EXPECT_LE(r.shared_bytes, 48 << 10) << name;
    EXPECT_LE(static_cast<size_t>(r.shared_bytes) + most.shared_bytes, kOrin.shared_bytes) << name;
    ++looked_at;
  }
  EXPECT_GT(looked_at, 60u);
}

// Local memory is not in the first cache there: the ring of weights takes all of it.
TEST(DecodeLimits, TheKernelsOfOneRowSpillNothing) {
  size_t looked_at = 0;
  for (const char* arch : {"sm_87", "sm_90", "sm_110"}) {
    for (const auto& [name, report] : reports(arch)) {
      if (!name.starts_with("decode_row_1b_") && !name.starts_with("decode_near_1b_")) continue;
      EXPECT_EQ(report.spilled_bytes, 0) << name << " for " << arch;
      ++looked_at;
    }
  }
  if (looked_at == 0) GTEST_SKIP() << "no kernels were compiled";
  EXPECT_EQ(looked_at % 8, 0u);  // Q4_0, Q8_0, BF16, and Q4_K_M's mixture
}

// What memory_need() says holds, for every step: plans are made by it, --memory is promised by it.
TEST(CudaMemory, IsWhatWasSaidBefore) {
  for (const char* shape : {"270m", "1b", "4b"}) {
    for (const char* type : {"q4_0", "q4_k_m", "bf16"}) {
      for (const int32_t rows : {256, 2048}) {
        const Shaped model = shaped(shape, type, 12, 262144);
        const auto need = cuda::Forward::memory_need(model.config, model.weights, rows);
        test::DryRecord record;
        auto backend = cuda::create_backend_on(test::dry_device(kOrin, record), {"cuda"}, model.config, model.weights);
        ASSERT_TRUE(backend.ok()) << backend.error().message;
        const KvPlan plan{64, 48, rows, 256};
        ASSERT_TRUE((*backend)->reserve_kv(plan).ok());
        run_all_kinds(**backend, model.config, rows);
        const uint64_t said = need.weights + 64 * need.global_page + 48 * need.local_page + need.activations;
        EXPECT_LE(record.most_bytes, said) << shape << " " << type << " " << rows << " rows";
        EXPECT_GE(1.25 * static_cast<double>(record.most_bytes), static_cast<double>(said))
            << shape << " " << type << " " << rows << " rows";
      }
    }
  }
}

}  // namespace
}  // namespace carat
