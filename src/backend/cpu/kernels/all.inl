// Everything that an ISA's object holds, in the order of dependence. Included once by each isa_*.cc, inside its
// namespace, after its vector types.

// clang-format off
#include "backend/cpu/kernels/math.inl"
#include "backend/cpu/kernels/rows.inl"
#include "backend/cpu/kernels/pack.inl"
#include "backend/cpu/kernels/matmul.inl"
#include "backend/cpu/kernels/attention.inl"
#include "backend/cpu/kernels/forward.inl"
// clang-format on
