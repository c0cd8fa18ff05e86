// spans: a flat aperture whose rows are intervals (7).
//
//   in    cells (pictures, rows, columns); steps: see below
//   out   the same shape: sum over dy, j of weight(dy, j) * (row y + dy, columns x - j .. x + j), 0 outside
//   launch  blocks of (64, GROUPS); a thread computes ROWS results below each other; grid (columns, rows, pictures);
//         shared memory staged * (64 + 2 reach + 1) cells
//   bytes per cell  4 PLANES written, 4 PLANES * (1 + 2 rows / (ROWS GROUPS)) * (1 + 2 reach / 64) read, from the L2 cache
//
// Rows of cells become prefix sums in shared memory, some at a time; two of them give an interval of any width. The ROWS
// results of a thread share those reads: step k says that row y + q of the frame counts in result i with weight[k].i for
// an interval; the steps of q = -rows .. rows + ROWS - 1 are start[q + rows] up to the next start, and their half-widths
// half[q + rows] and the next larger ones.
#include "pixel.cuh"

constexpr int ROWS = 4, GROUPS = 8, TILE = 64;

struct Steps {
  const float4* weight;
  const int* half;
  const int* start;  // (2 rows + ROWS + 1,)
  int rows;          // that count above a result and below it
  int reach;         // cells that count on either side
  int staged;        // rows in shared memory at a time
};

constexpr int LANES = 16;  // that make one row's sums

// Half a warp turns one row of cells, columns begin .. begin + n - 1, into its n + 1 prefix sums; outside the frame cells
// are 0. `exists` tells whether there is such a row: both halves of a warp have to come here.
//
// Each lane sums a run of cells from 0; what the lanes before it hold is scanned with its rounding error beside it
// (Knuth's two-sum) and added last. In plain floats the runs would not join: beside a boosted light they are off by more
// than the dark cells behind it weigh.
template <int PLANES>
__device__ __forceinline__ void prefix(const Cell<PLANES>* row, int columns, int begin, int n, int lane, bool exists,
                                       Cell<PLANES>* out) {
  const int each = (n + LANES - 1) / LANES, from = lane * each, to = exists ? min(from + each, n) : 0;
  const int low = max(from, -begin), high = min(to, columns - begin);  // cells of the run within the frame
  Cell<PLANES> sum = {}, rest = {};
#pragma unroll 2
  for (int i = low; i < high; ++i)
    add(sum, 1.f, load_cell(row + begin + i));
#pragma unroll
  for (int p = 0; p < PLANES; ++p) {
    const float own = sum.v[p];
#pragma unroll 1
    for (int step = 1; step < LANES; step *= 2) {
      const float value = __shfl_up_sync(ALL, sum.v[p], step, LANES),
                  error = __shfl_up_sync(ALL, rest.v[p], step, LANES);
      if (lane >= step) {
        const float before = sum.v[p], after = before + value, part = after - before;
        rest.v[p] += ((before - (after - part)) + (value - part)) + error;
        sum.v[p] = after;
      }
    }
    // Without the lane's own: exact as far as the rest tells, which is enough.
    const float after = sum.v[p] - own, part = after - sum.v[p];
    rest.v[p] += (sum.v[p] - (after - part)) - (own + part);
    sum.v[p] = after;
  }
  if (exists && lane == 0) store_cell(out, Cell<PLANES>{});
  Cell<PLANES> run = rest;
#pragma unroll 1
  for (int i = from; i < to; ++i) {
    if (i >= low && i < high) add(run, 1.f, load_cell(row + begin + i));
    Cell<PLANES> so_far = sum;
    add(so_far, 1.f, run);
    store_cell(out + i + 1, so_far);
  }
}

template <int PLANES>
__device__ __forceinline__ void spans(const Cell<PLANES>* in, Cell<PLANES>* out, const Steps& steps, int rows,
                                      int columns) {
  DYNAMIC_SHARED(float4, shared);
  Cell<PLANES>* const line = reinterpret_cast<Cell<PLANES>*>(shared);
  const int n = TILE + 2 * steps.reach;
  const int thread = threadIdx.y * TILE + threadIdx.x;
  const int x = blockIdx.x * TILE + threadIdx.x, top = blockIdx.y * ROWS * GROUPS, y = top + threadIdx.y * ROWS;
  const Cell<PLANES>* const picture = in + static_cast<int64_t>(blockIdx.z) * rows * columns;
  const int begin = max(top - steps.rows, 0), end = min(top + ROWS * GROUPS + steps.rows, rows);
  Cell<PLANES> sum[ROWS] = {};
  for (int first = begin; first < end; first += steps.staged) {
    const int count = min(steps.staged, end - first);
    for (int i = thread / LANES; i / 2 * 2 < count; i += TILE * GROUPS / LANES) {  // two rows for each warp
      const int row = min(i, count - 1);
      prefix(picture + static_cast<int64_t>(first + row) * columns, columns, blockIdx.x * TILE - steps.reach, n,
             thread % LANES, i < count, line + row * (n + 1));
    }
    __syncthreads();
    // The rows that count for this thread; q is the same for the whole warp.
    const int low = max(first, y - steps.rows), high = min(first + count, y + steps.rows + ROWS);
    for (int from = low; from < high; ++from) {
      const int q = from - y + steps.rows, start = __ldg(steps.start + q), stop = __ldg(steps.start + q + 1);
      const int half = __ldg(steps.half + q);  // of the first step
      const Cell<PLANES>* const centre = line + (from - first) * (n + 1) + threadIdx.x + steps.reach;
      const Cell<PLANES>*right = centre + half + 1, *left = centre - half;
#pragma unroll 1
      for (int k = start; k < stop; ++k, ++right, --left) {
        const float4 w = __ldg(steps.weight + k);
        Cell<PLANES> interval = fetch_cell(right);
        add(interval, -1.f, fetch_cell(left));
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

#define ENTRY(COLOURS)                                                                                                 \
  extern "C" __global__ void __launch_bounds__(TILE* GROUPS, 2)                                                        \
      spans_##COLOURS(const Cell<COLOURS + 1>* in, Cell<COLOURS + 1>* out, const Steps steps, int rows, int columns) { \
    spans<COLOURS + 1>(in, out, steps, rows, columns);                                                                 \
  }
ENTRY(1)
ENTRY(3)
