// From a matrix as a file holds it to the panels that the kernels read.
#pragma once

#include "backend/cpu/kernels.h"
#include "base/result.h"
#include "base/threads.h"
#include "formats/dtype.h"

namespace carat::cpu {

// The first `rows` rows of a tensor as they will be packed; `data` is the caller's to place. Errors: kUnsupported for
// columns that are not whole blocks.
Result<PackedMatrix> describe_packed(const TensorView& tensor, int64_t rows);

// Packs into matrix.data with all workers. `release`: the tensor lies in a mapped file, whose pages are let go.
// Errors: kCorruptFile for a weight that is not finite, naming the row.
Status pack_matrix(const Kernels& kernels, Team& team, const TensorView& tensor, const PackedMatrix& matrix,
                   bool release);

}  // namespace carat::cpu
