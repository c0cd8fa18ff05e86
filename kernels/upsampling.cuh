// (6)'s way up: the blurred frame at a lane's pixels, from the four rows of cells that a row of pixels lies among.
#pragma once
#include "pixel.cuh"

constexpr int PARTS = 16;  // factor, at most
constexpr int TAPS = 4;    // cells that a pixel is interpolated from, along an axis
constexpr int CELLS = 6;   // that four neighbouring pixels are interpolated from, at most

// Where a pixel lies among the cells of one axis: in part (x + offset) % factor of the cells from (x + offset) / factor - 2
// on.
struct Parts {
  int factor, offset;
  unsigned reciprocal;  // 2^32 / factor, rounded up; not there where cells are pixels
  __device__ __forceinline__ int first(int x) const {
    return (factor == 1 ? x : static_cast<int>(__umulhi(x + offset, reciprocal))) - 2;
  }
  __device__ __forceinline__ int part(int x, int first) const { return x + offset - (first + 2) * factor; }
};

// The blurred frame and (6)'s way up from it; without cells (null) B is `colour`.
struct Upsampling {
  float4 colour;
  const void* cells;     // (pictures, rows + 2 border, columns + 2 border)
  const float4* up;      // (down.factor,) weights of four cells, for each part
  const float4* across;  // (beside.factor, CELLS) weights in four neighbouring pixels, for the first one's part
  Parts down, beside;    // along a column of pixels, along a row
  int rows, columns, border;
};

// Rows of cells, interpolated along x: row c is kept in place c % TAPS, so that the next one moves nothing.
template <int PLANES>
struct Blurred {
  using Sum = Cell<PLANES>;
  Sum ring[TAPS][QUAD];
  int next;  // row of cells that is not kept yet

  // Interpolate a row from the lane's first cell on, of which the frame has `last` more behind it.
  __device__ __forceinline__ static void take(Sum (&row)[QUAD], const Sum* from, const float4* share, int last,
                                              int factor) {
    if (factor == 1) {
#pragma unroll
      for (int i = 0; i < QUAD; ++i)
        row[i] = load_cell(from + min(i, last));
    } else {
      const auto spread = [&](int j) {
        const Sum cell = load_cell(from + (j < TAPS ? j : min(j, last)));
        const float4 w = share[j];
        add(row[0], w.x, cell);
        add(row[1], w.y, cell);
        add(row[2], w.z, cell);
        add(row[3], w.w, cell);
      };
#pragma unroll
      for (int i = 0; i < QUAD; ++i)
        row[i] = Sum{};
#pragma unroll
      for (int j = 0; j < CELLS - 1; ++j)
        spread(j);
      if (factor == 2) spread(CELLS - 1);
    }
  }

  // Keep the four rows of cells before row `end`, of which the latest may be kept already, at the pixels from x on.
  __device__ __forceinline__ void keep(const Upsampling& frame, const float4* across, int z, int x, int end) {
    if (next < end) {
      const int factor = frame.beside.factor, left = factor == 1 ? x : frame.beside.first(x);
      const int wide = frame.columns + 2 * frame.border, last = frame.columns + frame.border - 1 - left;
      const float4* const share = across + (factor == 1 ? 0 : frame.beside.part(x, left)) * CELLS;
#pragma unroll 1
      for (next = max(next, end - TAPS); next < end; ++next) {
        const int64_t row = static_cast<int64_t>(z) * (frame.rows + 2 * frame.border) + frame.border + next;
        const Sum* const from = static_cast<const Sum*>(frame.cells) + row * wide + frame.border + left;
        const int place = next & (TAPS - 1);
        if (place == 0) {
          take(ring[0], from, share, last, factor);
        } else if (place == 1) {
          take(ring[1], from, share, last, factor);
        } else if (place == 2) {
          take(ring[2], from, share, last, factor);
        } else {
          take(ring[3], from, share, last, factor);
        }
      }
    }
  }

  // The sum over the cells at pixel i, of one plane.
  __device__ __forceinline__ float at(const float4& w, int i, int plane) const {
    return fmaf(w.w, ring[3][i].v[plane],
                fmaf(w.z, ring[2][i].v[plane], fmaf(w.y, ring[1][i].v[plane], w.x * ring[0][i].v[plane])));
  }
};

// The weights of (6)'s way up in shared memory: those down for each part and each place of the first row in the ring.
struct Weights {
  float4* up;      // (PARTS, TAPS)
  float4* across;  // (PARTS, CELLS)
};

__device__ __forceinline__ void load_weights(const Upsampling& frame, const Weights& to) {
  const int thread = threadIdx.y * WARP + threadIdx.x, threads = blockDim.y * WARP;
  for (int i = thread; frame.cells && i < frame.beside.factor * CELLS; i += threads)
    to.across[i] = __ldg(frame.across + i);
  for (int i = thread; i < frame.down.factor * TAPS; i += threads) {
    const float4 w = frame.cells ? __ldg(frame.up + i / TAPS) : make_float4(1.f, 0.f, 0.f, 0.f);
    const int first = i % TAPS;
    to.up[i] = first == 0   ? w
               : first == 1 ? make_float4(w.w, w.x, w.y, w.z)
               : first == 2 ? make_float4(w.z, w.w, w.x, w.y)
                            : make_float4(w.y, w.z, w.w, w.x);
  }
}
