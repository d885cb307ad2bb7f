// Whether this process may use AMX's tiles.
#pragma once

namespace carat::cpu {

// True if the processor has tiles of bf16 and the kernel grants their state: it is asked at the first call, for all
// threads. Whoever touches a tile before that, or where it is refused, is killed.
bool amx_granted();

}  // namespace carat::cpu
