// Memory of a model: its 4-bit weights, keys and values in 16 bits of the context (all of it in every sixth layer, a window
// in the others), and what the program takes beside them.
#include "cli/diagnosis.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/cgroup.h"
#include "base/topology.h"
#include "chat/human.h"
#include "formats/synth.h"

namespace carat::cli {
namespace {

using chat::human_bytes;

constexpr uint64_t kProgram = 120'000'000;  // the program, activations and a row of logits
constexpr int32_t kUsefulContext = 2048;

uint64_t weight_bytes(const SynthShape& shape) {
  uint64_t bytes = 0;
  for (const SynthTensor& tensor : synth_tensors(shape, {DType::kQ4_0, false})) {
    const DTypeInfo& type = dtype_info(tensor.type);
    bytes += static_cast<uint64_t>(tensor.rows * tensor.columns / type.block_elements * type.block_bytes);
  }
  return bytes;
}

uint64_t kv_bytes(const SynthShape& shape, int32_t context) {
  const int64_t global_layers = shape.layers / 6, local_layers = shape.layers - global_layers;
  const int64_t row = int64_t{2} * 2 * shape.kv_heads * shape.head_size;
  const int64_t window = std::min<int64_t>(context, shape.window + 320);
  return static_cast<uint64_t>(row * (global_layers * context + local_layers * window));
}

Fit fit_of(const SynthShape& shape, const Diagnosis& diagnosis) {
  Fit fit;
  fit.name = shape.name;
  fit.weight_bytes = weight_bytes(shape);
  for (int32_t context = shape.context_length; context >= kUsefulContext; context /= 2) {
    if (fit.weight_bytes + kv_bytes(shape, context) + kProgram > diagnosis.usable_bytes) continue;
    fit.context = context;
    break;
  }
  if (diagnosis.bandwidth > 0) fit.tokens_per_second = diagnosis.bandwidth / static_cast<double>(fit.weight_bytes);
  return fit;
}

class Complaints {
 public:
  explicit Complaints(Diagnosis& diagnosis) : diagnosis_(diagnosis), machine_(diagnosis.machine) {}

  void look() {
    power();
    heat();
    frequency();
    if (!machine_.offline.empty() && !machine_.power_mode) {
      add(fmt::format("{} hardware threads are switched off", machine_.offline.size()),
          "as root: echo 1 > /sys/devices/system/cpu/cpuN/online");
    }
    container();
    memory();
    if (diagnosis_.backend == "cpu/portable" && !diagnosis_.lacking.empty()) {
      add(fmt::format("this processor lacks the instructions of {}: plain C++ runs, many times slower",
                      fmt::join(diagnosis_.lacking, " and ")),
          "another machine; in a virtual one, let it see the host's processor");
    }
    if (diagnosis_.disk_free_bytes && *diagnosis_.disk_free_bytes < 1'000'000'000) {
      add(fmt::format("{} are free where models are kept ({})", human_bytes(*diagnosis_.disk_free_bytes),
                      diagnosis_.store.string()),
          "carat rm MODEL, carat rm --unused, or CARAT_HOME on another disk");
    }
  }

 private:
  void add(std::string what, std::string remedy) {
    diagnosis_.complaints.push_back({std::move(what), std::move(remedy)});
  }

  void power() {
    if (!machine_.power_mode) return;
    const PowerMode* best = &*machine_.power_mode;
    for (const PowerMode& mode : machine_.power_modes) {
      if (stronger(mode, *best)) best = &mode;
    }
    if (best->id == machine_.power_mode->id) return;
    const auto clock = [](const PowerMode& mode) {
      return mode.max_khz == 0 ? std::string("full speed")
                               : fmt::format("{:.2f} GHz", static_cast<double>(mode.max_khz) / 1e6);
    };
    const PowerMode& now = *machine_.power_mode;
    add(fmt::format("power mode {} leaves {} cores at {}; {} would give {} at {}", now.name, now.cores, clock(now),
                    best->name, best->cores, clock(*best)),
        fmt::format("sudo nvpmodel -m {}, then sudo jetson_clocks", best->id));
  }

  void heat() {
    for (const ThermalZone& zone : machine_.thermal) {
      if (!zone.throttles || zone.celsius < *zone.throttles - 3) continue;
      add(fmt::format("{} is at {:.0f} °C, and the system slows down at {:.0f} °C", zone.name, zone.celsius,
                      *zone.throttles),
          "a fan, or less to do");
    }
  }

  void frequency() {
    for (const Core& core : machine_.cores) {
      if (core.hardware_khz == 0 || core.max_khz * 10 >= core.hardware_khz * 9) continue;
      if (machine_.power_mode && !diagnosis_.complaints.empty()) return;  // said already
      add(fmt::format("cores may run at {:.2f} GHz, the hardware could do {:.2f}",
                      static_cast<double>(core.max_khz) / 1e6, static_cast<double>(core.hardware_khz) / 1e6),
          "look for a limit of frequency: cpupower frequency-info, the power mode, heat");
      return;
    }
  }

  void container() {
    if (diagnosis_.cgroup_bytes && *diagnosis_.cgroup_bytes < machine_.memory.total_bytes / 2) {
      add(fmt::format("a cgroup limits memory to {} of the machine's {}", human_bytes(*diagnosis_.cgroup_bytes),
                      human_bytes(machine_.memory.total_bytes)),
          "a higher limit of the container or the service (MemoryMax=, docker --memory)");
    }
    if (diagnosis_.cgroup_cpus && *diagnosis_.cgroup_cpus < static_cast<double>(machine_.cores.size())) {
      add(fmt::format("a cgroup limits processor time to {:.1f} cores of {}", *diagnosis_.cgroup_cpus,
                      machine_.cores.size()),
          "a higher quota (CPUQuota=, docker --cpus)");
    }
  }

  void memory() {
    const MachineMemory& memory = machine_.memory;
    if (memory.huge_pages == "never") {
      add("huge pages are off: large weights cost more look-ups of addresses",
          "as root: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled");
    }
    if (memory.total_bytes > 0 && memory.available_bytes * 4 < memory.total_bytes) {
      add(fmt::format("only {} of {} of memory are free", human_bytes(memory.available_bytes),
                      human_bytes(memory.total_bytes)),
          memory.shared_with_gpu ? "end what uses memory, the desktop first: sudo systemctl isolate multi-user.target"
                                 : "end what uses memory");
    }
    const bool nothing_fits =
        std::none_of(diagnosis_.fits.begin(), diagnosis_.fits.end(), [](const Fit& fit) { return fit.context > 0; });
    if (nothing_fits)
      add("no model fits into the memory that is free",
          "end what uses memory; --memory and --num-ctx make a model smaller");
  }

  Diagnosis& diagnosis_;
  const Machine& machine_;
};

std::string cores_text(const Diagnosis& diagnosis) {
  size_t threads = 0;
  int clusters = 0;
  uint64_t khz = 0;
  for (const Core& core : diagnosis.machine.cores) {
    threads += core.threads.size();
    clusters = std::max(clusters, core.cluster + 1);
    khz = std::max(khz, core.max_khz);
  }
  std::string text = fmt::format("{} cores, {} hardware threads", diagnosis.machine.cores.size(), threads);
  if (clusters > 1) text += fmt::format(", {} clusters", clusters);
  if (khz > 0) text += fmt::format(", up to {:.2f} GHz", static_cast<double>(khz) / 1e6);
  if (!diagnosis.machine.offline.empty())
    text += fmt::format("; {} threads are offline", diagnosis.machine.offline.size());
  return text + fmt::format("; Carat uses {}", diagnosis.cores);
}

}  // namespace

Diagnosis diagnose(const std::filesystem::path& root) {
  Diagnosis diagnosis;
  diagnosis.machine = read_machine(root);
  diagnosis.usable_bytes = usable_memory_bytes(root);
  diagnosis.cores = usable_cores(root);
  if (const auto limit = cgroup_memory(root)) diagnosis.cgroup_bytes = limit->limit_bytes;
  diagnosis.cgroup_cpus = cgroup_cpus(root);
  return diagnosis;
}

void conclude(Diagnosis& diagnosis) {
  for (const char* name : {"270m", "1b", "4b", "12b", "27b"}) {
    diagnosis.fits.push_back(fit_of(*synth_shape(name), diagnosis));
  }
  Complaints(diagnosis).look();
}

std::string diagnosis_text(const Diagnosis& d) {
  const MachineMemory& memory = d.machine.memory;
  std::string out;
  const auto line = [&out](std::string_view name, const std::string& text) {
    if (!text.empty()) out += fmt::format("{:<12}{}\n", name, text);
  };
  line("machine", d.machine.model);
  line("processor", d.machine.processor);
  line("cores", cores_text(d));
  if (!d.backend.empty()) {
    line("kernels", d.lacking.empty()
                        ? d.backend
                        : fmt::format("{}; the instructions of {} are missing", d.backend, fmt::join(d.lacking, ", ")));
  }
  line("gpu", d.gpu);
  line("memory", fmt::format("{}, {} free{}; a model could take {}", human_bytes(memory.total_bytes),
                             human_bytes(memory.available_bytes), memory.shared_with_gpu ? ", shared with the GPU" : "",
                             human_bytes(d.usable_bytes)));
  if (d.bandwidth > 0) line("bandwidth", fmt::format("{:.1f} GB/s read, measured", d.bandwidth / 1e9));
  line("swap", fmt::format("{} free on disks{}", human_bytes(memory.swap_free_bytes),
                           memory.zram_bytes > 0
                               ? fmt::format("; zram {}, {} of it used (it lies in memory)",
                                             human_bytes(memory.zram_bytes), human_bytes(memory.zram_used_bytes))
                               : ""));
  if (d.cgroup_bytes || d.cgroup_cpus) {
    line("cgroup", fmt::format("memory {}, processors {}", d.cgroup_bytes ? human_bytes(*d.cgroup_bytes) : "unlimited",
                               d.cgroup_cpus ? fmt::format("{:.1f}", *d.cgroup_cpus) : "unlimited"));
  }
  if (d.machine.power_mode) line("power mode", d.machine.power_mode->name);
  line("huge pages", memory.huge_pages);
  for (const ThermalZone& zone : d.machine.thermal) line("heat", fmt::format("{} {:.0f} °C", zone.name, zone.celsius));
  if (d.disk_free_bytes) line("models", fmt::format("{}, {} free", d.store.string(), human_bytes(*d.disk_free_bytes)));

  out += "\nmodel (4-bit weights)  weights     context that fits  decode at most\n";
  for (const Fit& fit : d.fits) {
    out += fmt::format("{:<23}{:<12}{:<19}{}\n", "gemma3:" + fit.name, human_bytes(fit.weight_bytes),
                       fit.context > 0 ? std::to_string(fit.context) : "does not fit",
                       fit.context > 0 && fit.tokens_per_second > 0
                           ? fmt::format("{:.{}f} tokens/s", fit.tokens_per_second, fit.tokens_per_second < 10 ? 1 : 0)
                           : "");
  }
  out += "\n";
  if (d.complaints.empty()) out += "Nothing is wrong.\n";
  for (const Complaint& complaint : d.complaints) out += fmt::format("! {}\n  {}\n", complaint.what, complaint.remedy);
  return out;
}

nlohmann::ordered_json diagnosis_json(const Diagnosis& d) {
  using Json = nlohmann::ordered_json;
  const MachineMemory& memory = d.machine.memory;
  const auto or_null = [](const auto& value) { return value ? Json(*value) : Json(nullptr); };
  Json cores = Json::array(), heat = Json::array(), fits = Json::array(), complaints = Json::array();
  for (const Core& core : d.machine.cores) {
    cores.push_back({{"threads", core.threads},
                     {"cluster", core.cluster},
                     {"capacity", core.capacity},
                     {"max_khz", core.max_khz},
                     {"hardware_khz", core.hardware_khz}});
  }
  for (const ThermalZone& zone : d.machine.thermal) {
    heat.push_back({{"name", zone.name}, {"celsius", zone.celsius}, {"throttles", or_null(zone.throttles)}});
  }
  for (const Fit& fit : d.fits) {
    fits.push_back({{"model", "gemma3:" + fit.name},
                    {"weight_bytes", fit.weight_bytes},
                    {"context", fit.context},
                    {"tokens_per_second", fit.tokens_per_second}});
  }
  for (const Complaint& complaint : d.complaints)
    complaints.push_back({{"what", complaint.what}, {"remedy", complaint.remedy}});
  return Json{{"machine", d.machine.model},
              {"processor", d.machine.processor},
              {"features", d.machine.features},
              {"cores", std::move(cores)},
              {"offline", d.machine.offline},
              {"threads", d.cores},
              {"backend", d.backend.empty() ? Json(nullptr) : Json(d.backend)},
              {"lacking", d.lacking},
              {"gpu", d.gpu},
              {"memory",
               {{"total", memory.total_bytes},
                {"available", memory.available_bytes},
                {"usable", d.usable_bytes},
                {"swap_free", memory.swap_free_bytes},
                {"zram", memory.zram_bytes},
                {"zram_used", memory.zram_used_bytes},
                {"shared_with_gpu", memory.shared_with_gpu},
                {"huge_pages", memory.huge_pages}}},
              {"bandwidth", d.bandwidth},
              {"cgroup_memory", or_null(d.cgroup_bytes)},
              {"cgroup_cpus", or_null(d.cgroup_cpus)},
              {"power_mode", d.machine.power_mode ? Json(d.machine.power_mode->name) : Json(nullptr)},
              {"heat", std::move(heat)},
              {"store", d.store.string()},
              {"disk_free", or_null(d.disk_free_bytes)},
              {"fits", std::move(fits)},
              {"complaints", std::move(complaints)}};
}

}  // namespace carat::cli
