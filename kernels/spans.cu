// spans: a flat aperture whose rows are intervals (7).
//
//   in    cells (pictures, rows, columns); steps: see below
//   out   the same shape: sum over dy, j of weight(dy, j) * (row y + dy, columns x - j .. x + j), 0 outside
//   launch  blocks of (64, GROUPS); a thread computes ROWS results below each other; grid (columns, rows, pictures);
//         shared memory staged * (64 + 2 reach + 1) cells
//   bytes per cell  4 PLANES written, 4 PLANES * (1 + 2 reach / (ROWS GROUPS)) * (1 + 2 reach / 64) read, from the L2 cache
//
// Rows of cells become prefix sums in shared memory, some at a time; two of them give an interval of any width. The ROWS
// results of a thread share those reads: step k says that row y + q of the frame counts in result i with weight[k].i for
// the interval of half-width half[k]; the steps of q = -reach .. reach + ROWS - 1 are start[q + reach] up to the next start.
#include "pixel.cuh"

constexpr int ROWS = 4, GROUPS = 8, TILE = 64;

struct Steps {
  const float4* weight;
  const int* half;
  const int* start;  // (2 reach + ROWS + 1,)
  int reach;
  int staged;  // rows in shared memory at a time
};

// A sum with its rounding error beside it (Knuth's two-sum): beside a boosted light plain sums in float are off by more
// than the dark cells behind it weigh.
template <int PLANES>
struct Total {
  Cell<PLANES> sum, rest;
  __device__ __forceinline__ void plus(int p, float value, float error) {
    const float before = sum.v[p], after = before + value, part = after - before;
    rest.v[p] += ((before - (after - part)) + (value - part)) + error;
    sum.v[p] = after;
  }
};

// A warp turns one row of cells, columns begin .. begin + n - 1, into its n + 1 prefix sums; outside the frame cells are 0.
template <int PLANES>
__device__ __forceinline__ void prefix(const Cell<PLANES>* row, int columns, int begin, int n, int lane, Cell<PLANES>* out) {
  const int each = (n + WARP - 1) / WARP, from = lane * each, to = min(from + each, n);
  Total<PLANES> total = {};
#pragma unroll 1
  for (int i = from; i < to; ++i) {
    if (begin + i < 0 || begin + i >= columns) continue;
    const Cell<PLANES> cell = load_cell(row + begin + i);
#pragma unroll
    for (int p = 0; p < PLANES; ++p) total.plus(p, cell.v[p], 0.f);
  }
#pragma unroll 1
  for (int step = 1; step < WARP; step *= 2) {  // of all lanes up to this one
#pragma unroll
    for (int p = 0; p < PLANES; ++p) {
      const float sum = __shfl_up_sync(ALL, total.sum.v[p], step), rest = __shfl_up_sync(ALL, total.rest.v[p], step);
      if (lane >= step) total.plus(p, sum, rest);
    }
  }
#pragma unroll
  for (int p = 0; p < PLANES; ++p) {  // of the lanes before this one
    const float sum = __shfl_up_sync(ALL, total.sum.v[p], 1), rest = __shfl_up_sync(ALL, total.rest.v[p], 1);
    total.sum.v[p] = lane > 0 ? sum : 0.f;
    total.rest.v[p] = lane > 0 ? rest : 0.f;
  }
  if (lane == 0) store_cell(out, Cell<PLANES>{});
#pragma unroll 1
  for (int i = from; i < to; ++i) {
    if (begin + i >= 0 && begin + i < columns) {
      const Cell<PLANES> cell = load_cell(row + begin + i);
#pragma unroll
      for (int p = 0; p < PLANES; ++p) total.plus(p, cell.v[p], 0.f);
    }
    Cell<PLANES> so_far = total.sum;
    add(so_far, 1.f, total.rest);
    store_cell(out + i + 1, so_far);
  }
}

template <int PLANES>
__device__ __forceinline__ void spans(const Cell<PLANES>* in, Cell<PLANES>* out, const Steps& steps, int rows, int columns) {
  DYNAMIC_SHARED(float4, shared);
  Cell<PLANES>* const line = reinterpret_cast<Cell<PLANES>*>(shared);
  const int n = TILE + 2 * steps.reach;
  const int thread = threadIdx.y * TILE + threadIdx.x, warp = thread / WARP, warps = GROUPS * TILE / WARP;
  const int x = blockIdx.x * TILE + threadIdx.x, top = blockIdx.y * ROWS * GROUPS, y = top + threadIdx.y * ROWS;
  const Cell<PLANES>* const picture = in + static_cast<int64_t>(blockIdx.z) * rows * columns;
  const int begin = max(top - steps.reach, 0), end = min(top + ROWS * GROUPS + steps.reach, rows);
  Cell<PLANES> sum[ROWS] = {};
  for (int first = begin; first < end; first += steps.staged) {
    const int count = min(steps.staged, end - first);
    for (int i = warp; i < count; i += warps) {
      prefix(picture + static_cast<int64_t>(first + i) * columns, columns, blockIdx.x * TILE - steps.reach, n,
             thread % WARP, line + i * (n + 1));
    }
    __syncthreads();
    // The rows that count for this thread; q is the same for the whole warp.
    const int low = max(first, y - steps.reach), high = min(first + count, y + steps.reach + ROWS);
    for (int from = low; from < high; ++from) {
      const int q = from - y + steps.reach;
      const Cell<PLANES>* const centre = line + (from - first) * (n + 1) + threadIdx.x + steps.reach;
      const int stop = __ldg(steps.start + q + 1);
#pragma unroll 1
      for (int k = __ldg(steps.start + q); k < stop; ++k) {
        const float4 w = __ldg(steps.weight + k);
        const int half = __ldg(steps.half + k);
        Cell<PLANES> interval = fetch_cell(centre + half + 1);
        add(interval, -1.f, fetch_cell(centre - half));
        add(sum[0], w.x, interval);
        add(sum[1], w.y, interval);
        add(sum[2], w.z, interval);
        add(sum[3], w.w, interval);
      }
    }
    __syncthreads();
  }
  if (x >= columns) return;
  Cell<PLANES>* const to = out + (static_cast<int64_t>(blockIdx.z) * rows + y) * columns + x;
#pragma unroll
  for (int i = 0; i < ROWS; ++i) {
    if (y + i < rows) store_cell(to + static_cast<int64_t>(i) * columns, sum[i]);
  }
}

#define ENTRY(COLOURS)                                                                                            \
  extern "C" __global__ void __launch_bounds__(TILE * GROUPS) spans_##COLOURS(                                   \
      const Cell<COLOURS + 1>* in, Cell<COLOURS + 1>* out, const Steps steps, int rows, int columns) {           \
    spans<COLOURS + 1>(in, out, steps, rows, columns);                                                            \
  }
ENTRY(1)
ENTRY(3)
