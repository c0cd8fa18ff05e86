// separable: one row of symmetric taps along the columns of the frame, written transposed; twice is the whole blur.
//
//   in    cells (pictures, rows, columns); taps (3 zeros, 2 reach + 1 weights, 3 zeros)
//   out   cells (pictures, columns, rows); out(x, y) = sum over k of taps[k] * in(y + k - reach, x), 0 outside
//   launch  blocks of (32, warps); a lane computes ROWS results below each other; grid (columns, rows, pictures)
//   bytes per cell  8 PLANES, from the L2 cache where the frame fits in
//
// Neighbouring lanes read neighbouring cells, and each writes ROWS cells in a row: a whole line of 64 bytes.
#include "pixel.cuh"

constexpr int ROWS = 4;

template <int PLANES>
__device__ __forceinline__ void separable(const Cell<PLANES>* in, Cell<PLANES>* out, const float* taps, int reach, int rows,
                                          int columns) {
  const int x = blockIdx.x * WARP + threadIdx.x, y = (blockIdx.y * blockDim.y + threadIdx.y) * ROWS;
  if (x >= columns || y >= rows) return;
  const int64_t picture = static_cast<int64_t>(blockIdx.z) * rows * columns;
  const int begin = max(y - reach, 0), end = min(y + reach + ROWS, rows);
  const Cell<PLANES>* cell = in + picture + static_cast<int64_t>(begin) * columns + x;
  const float* tap = taps + (begin - (y - reach));  // tap[3 - i] is the first result's, tap[3] the share of row `begin` in it
  Cell<PLANES> sum[ROWS] = {};
  float w[ROWS];  // w[i]: share of the present row in result i
#pragma unroll
  for (int i = 0; i < ROWS - 1; ++i) w[i] = __ldg(tap + ROWS - 2 - i);
#pragma unroll 4
  for (int from = begin; from < end; ++from, cell += columns, ++tap) {
#pragma unroll
    for (int i = ROWS - 1; i > 0; --i) w[i] = w[i - 1];
    w[0] = __ldg(tap + ROWS - 1);
    const Cell<PLANES> c = load_cell(cell);
#pragma unroll
    for (int i = 0; i < ROWS; ++i) add(sum[i], w[i], c);
  }
  Cell<PLANES>* const to = out + picture + static_cast<int64_t>(x) * rows + y;
#pragma unroll
  for (int i = 0; i < ROWS; ++i) {
    if (y + i < rows) store_cell(to + i, sum[i]);
  }
}

#define ENTRY(COLOURS)                                                                                      \
  extern "C" __global__ void __launch_bounds__(256) separable_##COLOURS(                                    \
      const Cell<COLOURS + 1>* in, Cell<COLOURS + 1>* out, const float* taps, int reach, int rows, int columns) { \
    separable<COLOURS + 1>(in, out, taps, reach, rows, columns);                                            \
  }
ENTRY(1)
ENTRY(3)
