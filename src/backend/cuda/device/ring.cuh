// A warp's tiles on their way from global memory through a ring of places in shared memory, in the order of a source.
#pragma once

#include "backend/cuda/device/base.cuh"

namespace carat::cuda {

struct TilePlace {
  const uint8_t* from;
  uint32_t bytes;
};

// Source: more() and take(), by whole warps.
template <class Source>
struct Ring {
  Source source;
  int slots, arrivals;  // where they begin in shared memory
  int slot, depth, slot_bytes;
  uint32_t parity;

  CARAT_METHOD void begin(int in_slots, int in_arrivals, int in_depth, int in_slot_bytes) {
    slots = in_slots;
    arrivals = in_arrivals;
    slot = 0;
    parity = 0;
    depth = in_depth;
    slot_bytes = in_slot_bytes;
    if (lane_index() == 0) {
      for (int s = 0; s < depth; ++s) arrival_init(arrival(s), kBulkCopies ? 1 : 32);
      arrival_fence();
    }
    warp_barrier();
    for (int s = 0; s < depth; ++s) ask(s);
  }
  CARAT_METHOD uint64_t* arrival(int at) const { return reinterpret_cast<uint64_t*>(shared_memory() + arrivals) + at; }
  CARAT_METHOD uint8_t* place(int at) const { return shared_memory() + slots + at * slot_bytes; }
  CARAT_METHOD void ask(int to) {
    if (!source.more()) return;
    const TilePlace tile = source.take();
    if constexpr (kBulkCopies) {
      if (lane_index() == 0) {
        arrival_expect(arrival(to), tile.bytes);
        bulk_copy(place(to), tile.from, tile.bytes, arrival(to));
      }
    } else {
      for (uint32_t i = lane_index() * 16; i < tile.bytes; i += 512) copy_async_16(place(to) + i, tile.from + i);
      copy_async_arrive(arrival(to));
    }
  }
  // The oldest tile, or the one after, once it is there.
  CARAT_METHOD const uint8_t* wait(int after) const {
    const bool wraps = slot + after >= depth;
    const int at = wraps ? slot + after - depth : slot + after;
    arrival_wait(arrival(at), wraps ? parity ^ 1 : parity);
    return place(at);
  }
  // All lanes have read the oldest (a warp_barrier says so).
  CARAT_METHOD void done() {
    ask(slot);
    if (++slot == depth) {
      slot = 0;
      parity ^= 1;
    }
  }
};

}  // namespace carat::cuda
