// From matrices as a file holds them to the panels that the kernels read.
#pragma once

#include <span>

#include "backend/cpu/kernels.h"
#include "base/result.h"
#include "base/threads.h"
#include "formats/dtype.h"

namespace carat::cpu {

// The first `rows` rows of a tensor as they will be packed; `data` is the caller's to place. Errors: kUnsupported for
// columns that are not whole blocks.
Result<PackedMatrix> describe_packed(const TensorView& tensor, int64_t rows);

struct PackJob {
  const TensorView* tensor;
  PackedMatrix* matrix;  // described, and placed
};

// Packs them all with all workers, without a wait between one matrix and the next. `release`: the tensors lie in mapped
// files, whose pages are let go as soon as they are packed.
// Errors: kCorruptFile for a weight that is not finite, naming the tensor and the row.
Status pack_matrices(const Kernels& kernels, Team& team, std::span<const PackJob> jobs, bool release);

}  // namespace carat::cpu
