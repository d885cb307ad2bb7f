// Fibers by ucontext, switched without its system calls where we know the machine: a few registers and the stack pointer.
#include "backend/cuda/emulator.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "base/result.h"

carat::cuda::emulator::Index threadIdx, blockIdx, blockDim, gridDim;

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace carat::cuda::emulator {
namespace {

constexpr size_t kStackBytes = 128 << 10;

#if defined(__x86_64__)
extern "C" void carat_switch_stack(void** save, void* to);
asm(R"(
.text
.globl carat_switch_stack
.type carat_switch_stack,@function
carat_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size carat_switch_stack,.-carat_switch_stack
)");
#endif

struct Warp {
  uint32_t words[2][32][kMaxWords];
  int arrived = 0;
  uint32_t generation = 0;
};

struct Team {
  int arrived = 0;
  uint32_t generation = 0;
};
struct Block;
struct Cluster {
  Block* first = nullptr;
  int threads = 0, arrived = 0, done = 0;  // who is done waits for nobody, and nobody for him
  uint32_t generation = 0;

  void look() {
    if (arrived == 0 || arrived + done != threads) return;
    arrived = 0;
    ++generation;
  }
};
struct Block {
  Cluster* cluster = nullptr;
  std::unique_ptr<uint8_t[]> shared;
  uint8_t* shared_base = nullptr;
  Index index;
  std::vector<Warp> warps;
  int threads = 0;
  int arrived = 0;
  uint32_t generation = 0;
  Team teams[16];
};

struct Fiber {
  Block* block = nullptr;
  unsigned thread = 0;
  bool done = false;
  const uint32_t* waits_on = nullptr;  // runs again once this is no longer `value`
  uint32_t value = 0;
#if defined(__x86_64__)
  void* stack_pointer = nullptr;
#else
  ucontext_t context;
#endif
  uint8_t* stack = nullptr;
};

Fiber* current = nullptr;
#if defined(__x86_64__)
void* scheduler_stack = nullptr;
#else
ucontext_t scheduler_context;
#endif
void (*kernel_of_launch)(const void*) = nullptr;
const void* params_of_launch = nullptr;

void to_scheduler() {
  Fiber* self = current;
#if defined(__x86_64__)
  carat_switch_stack(&self->stack_pointer, scheduler_stack);
#else
  swapcontext(&self->context, &scheduler_context);
#endif
}

void fiber_main() {
  kernel_of_launch(params_of_launch);
  current->done = true;
  ++current->block->cluster->done;
  current->block->cluster->look();
  to_scheduler();
}

void start(Fiber& fiber) {
#if defined(__x86_64__)
  auto** top = reinterpret_cast<void**>(fiber.stack + kStackBytes);
  *--top = nullptr;  // alignment: at entry of a function the stack is 16n + 8
  *--top = reinterpret_cast<void*>(&fiber_main);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  fiber.stack_pointer = top;
#else
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack;
  fiber.context.uc_stack.ss_size = kStackBytes;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, &fiber_main, 0);
#endif
}

void resume(Fiber& fiber) {
  current = &fiber;
  threadIdx = {fiber.thread, 0, 0};
  blockIdx = fiber.block->index;
#if defined(__x86_64__)
  carat_switch_stack(&scheduler_stack, fiber.stack_pointer);
#else
  swapcontext(&scheduler_context, &fiber.context);
#endif
}

void wait_until_changed(const uint32_t* generation) {
  current->waits_on = generation;
  current->value = *generation;
  to_scheduler();
}

void run(std::vector<Fiber>& fibers) {
  size_t alive = fibers.size();
  while (alive > 0) {
    bool moved = false;
    for (Fiber& fiber : fibers) {
      if (fiber.done) continue;
      if (fiber.waits_on != nullptr && *fiber.waits_on == fiber.value) continue;
      moved = true;
      fiber.waits_on = nullptr;
      resume(fiber);
      if (fiber.done) --alive;
    }
    CARAT_ASSERT(moved && "some threads wait at a barrier that others never reach");
  }
}

}  // namespace

void launch(void (*kernel)(const void*), Index grid, Index block, size_t shared_bytes, const void* params,
            bool together, unsigned cluster) {
  CARAT_ASSERT(grid.x % cluster == 0);
  CARAT_ASSERT(block.y <= 1 && block.z <= 1 && block.x % 32 == 0);
  kernel_of_launch = kernel;
  params_of_launch = params;
  gridDim = grid;
  blockDim = block;
  const size_t count = size_t{grid.x} * grid.y * grid.z;
  const size_t at_once = together ? count : cluster;
  static std::vector<std::unique_ptr<uint8_t[]>> stacks;
  while (stacks.size() < at_once * block.x) stacks.emplace_back(new uint8_t[kStackBytes]);
  for (size_t first = 0; first < count; first += at_once) {
    std::vector<Block> blocks(at_once);
    std::vector<Cluster> clusters(at_once / cluster);
    std::vector<Fiber> fibers(at_once * block.x);
    for (size_t b = 0; b < at_once; ++b) {
      const size_t at = first + b;
      Block& it = blocks[b];
      it.cluster = &clusters[b / cluster];
      if (b % cluster == 0) it.cluster->first = &it;
      it.cluster->threads += static_cast<int>(block.x);
      it.index = {static_cast<unsigned>(at % grid.x), static_cast<unsigned>(at / grid.x % grid.y),
                  static_cast<unsigned>(at / grid.x / grid.y)};
      it.shared = std::make_unique<uint8_t[]>(shared_bytes + 256);
      std::memset(it.shared.get(), 0xff, shared_bytes + 256);  // NaN: what was not written must not be read
      it.shared_base = it.shared.get() + (128 - reinterpret_cast<uintptr_t>(it.shared.get()) % 128) % 128;
      it.warps.resize(block.x / 32);
      it.threads = static_cast<int>(block.x);
      for (unsigned t = 0; t < block.x; ++t) {
        Fiber& fiber = fibers[b * block.x + t];
        fiber.block = &it;
        fiber.thread = t;
        fiber.stack = stacks[b * block.x + t].get();
        start(fiber);
      }
    }
    run(fibers);
    for (const Block& it : blocks) {
      const uint8_t* behind = it.shared_base + shared_bytes;
      CARAT_ASSERT(std::all_of(behind, behind + 128, [](uint8_t byte) { return byte == 0xff; }) &&
                   "a block has written behind its shared memory");
    }
  }
}

uint8_t* block_shared_memory() { return current->block->shared_base; }

int cluster_rank() { return static_cast<int>(current->block - current->block->cluster->first); }

uint8_t* cluster_place(void* at, int rank) {
  return current->block->cluster->first[rank].shared_base + (static_cast<uint8_t*>(at) - current->block->shared_base);
}

void cluster_barrier() {
  Cluster& cluster = *current->block->cluster;
  const uint32_t before = cluster.generation;
  ++cluster.arrived;
  cluster.look();
  if (cluster.generation == before) wait_until_changed(&cluster.generation);
}

void block_barrier() {
  Block& block = *current->block;
  const uint32_t* generation = &block.generation;
  if (++block.arrived == block.threads) {
    block.arrived = 0;
    ++block.generation;
    return;
  }
  wait_until_changed(generation);
}

void team_barrier(int id, int threads, bool wait) {
  CARAT_ASSERT(id > 0 && id < 16 && threads % 32 == 0);
  Team& team = current->block->teams[id];
  if (++team.arrived == threads) {
    team.arrived = 0;
    ++team.generation;
    return;
  }
  if (wait) wait_until_changed(&team.generation);
}

void yield() { to_scheduler(); }

const uint32_t (*exchange(const uint32_t* words, int count))[kMaxWords] {
  Warp& warp = current->block->warps[current->thread / 32];
  auto* slots = warp.words[warp.generation & 1];
  std::memcpy(slots[current->thread % 32], words, static_cast<size_t>(count) * 4);
  if (++warp.arrived == 32) {
    warp.arrived = 0;
    ++warp.generation;
  } else {
    wait_until_changed(&warp.generation);
  }
  return slots;
}

}  // namespace carat::cuda::emulator
