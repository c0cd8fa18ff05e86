// The matte at a pixel: a mask of the picture's size, or (4)'s guided-filter coefficients.
#pragma once
#include "pixel.cuh"

enum { COVER_NONE = 0, COVER_MASK = 1, COVER_GUIDED = 2 };

// A stack of mattes. Column of the mask or sample = across * x + left, row = down * y + top.
struct Cover {
  const void* mask;            // (rows, columns) uint8, or float32 in [0, 1]
  const float4* coefficients;  // (rows, columns): alpha = x r + y g + z b + w, in display values
  float across, left, down, top;
  float unit;                      // mask * unit is in [0, 1]
  int kind, rows, columns, bytes;  // bytes: the mask is uint8
};

// Where a coordinate lies between two rows or columns of a grid of n: clamped at the borders.
struct Between {
  int low, high;
  float t;
};
__device__ __forceinline__ Between between(float at, int n) {
  at = fminf(fmaxf(at, 0.f), static_cast<float>(n - 1));
  const int low = __float2int_rz(at);
  return {low, min(low + 1, n - 1), at - static_cast<float>(low)};
}

__device__ __forceinline__ float mix(float a, float b, float t) { return fmaf(t, b - a, a); }
__device__ __forceinline__ float4 mix(const float4& a, const float4& b, float t) {
  return make_float4(mix(a.x, b.x, t), mix(a.y, b.y, t), mix(a.z, b.z, t), mix(a.w, b.w, t));
}
__device__ __forceinline__ float4 mix(const float4* grid, int columns, const Between& y, const Between& x) {
  const float4* const above = grid + static_cast<int64_t>(y.low) * columns;
  const float4* const below = grid + static_cast<int64_t>(y.high) * columns;
  return mix(mix(__ldg(above + x.low), __ldg(above + x.high), x.t),
             mix(__ldg(below + x.low), __ldg(below + x.high), x.t), y.t);
}

// The cell of a grid at pixel (z, y, x); Place, a Cover or Fields, says where the grid lies under the picture.
template <class Place>
__device__ __forceinline__ float4 grid_at(const Place& place, const float4* grid, int z, int y, int x) {
  return mix(grid + static_cast<int64_t>(z) * place.rows * place.columns, place.columns,
             between(fmaf(place.down, y, place.top), place.rows),
             between(fmaf(place.across, x, place.left), place.columns));
}

// A mask of any size, and the pixel (z, y, x) of the picture it belongs to.
__device__ __forceinline__ float mask_value(const Cover& cover, int64_t at) {
  const float v = cover.bytes ? __ldg(static_cast<const uint8_t*>(cover.mask) + at)
                              : __ldg(static_cast<const float*>(cover.mask) + at);
  return v * cover.unit;
}
__device__ __forceinline__ float resampled(const Cover& cover, int z, int y, int x) {
  const Between row = between(fmaf(cover.down, y, cover.top), cover.rows);
  const Between column = between(fmaf(cover.across, x, cover.left), cover.columns);
  const int64_t above = (static_cast<int64_t>(z) * cover.rows + row.low) * cover.columns;
  const int64_t below = (static_cast<int64_t>(z) * cover.rows + row.high) * cover.columns;
  return mix(mix(mask_value(cover, above + column.low), mask_value(cover, above + column.high), column.t),
             mix(mask_value(cover, below + column.low), mask_value(cover, below + column.high), column.t), row.t);
}

// a . I + b; clipped to [0, 1] it is alpha.
__device__ __forceinline__ float affine(const float4& c, const float* rgb) {
  return fmaf(c.x, rgb[0], fmaf(c.y, rgb[1], fmaf(c.z, rgb[2], c.w)));
}

// The matte along one row of pixels, for a warp. Coefficients are interpolated between rows once, into shared memory.
struct CoverRow {
  const float4* line;  // samples first .. of this row
  int first;
  bool flat;   // the matte is `value` all along: nothing needs to be loaded
  bool guide;  // the matte needs the photo
  float value;
};

// Samples that a run of n pixels needs (the host's twin: cuda.py).
__device__ __forceinline__ int line_samples(const Cover& cover, int n) {
  return static_cast<int>(n * cover.across) + 3;
}

__device__ __forceinline__ CoverRow cover_row(const Cover& cover, int z, int y, int x, int n, float4* line) {
  if (cover.kind == COVER_NONE) return {line, 0, true, false, 0.f};
  if (cover.kind == COVER_MASK) return {line, 0, false, false, 0.f};
  const float4* const grid = cover.coefficients + static_cast<int64_t>(z) * cover.rows * cover.columns;
  const Between row = between(fmaf(cover.down, y, cover.top), cover.rows);
  const int first = between(fmaf(cover.across, x, cover.left), cover.columns).low;
  const int last = between(fmaf(cover.across, x + n - 1, cover.left), cover.columns).high;
  const float start = __ldg(&grid[static_cast<int64_t>(row.low) * cover.columns + first].w);
  bool flat = true;
#pragma unroll 1
  for (int i = first + threadIdx.x; i <= last; i += WARP) {
    const float4 c = mix(__ldg(grid + static_cast<int64_t>(row.low) * cover.columns + i),
                         __ldg(grid + static_cast<int64_t>(row.high) * cover.columns + i), row.t);
    line[i - first] = c;
    flat = flat && c.x == 0.f && c.y == 0.f && c.z == 0.f && c.w == start;
  }
  __syncwarp();
  flat = __all_sync(ALL, flat);
  return {line, first, flat, !flat, __saturatef(start)};
}

// Alpha at pixel x of the row; rgb are its display values, which matter only where row.guide says so.
__device__ __forceinline__ float alpha_at(const Cover& cover, const CoverRow& row, int z, int y, int x,
                                          const float* rgb) {
  if (row.flat) return row.value;
  if (row.guide) {  // interpolated after the product, which is the same and takes fewer registers
    const Between column = between(fmaf(cover.across, x, cover.left), cover.columns);
    const float low = affine(row.line[column.low - row.first], rgb),
                high = affine(row.line[column.high - row.first], rgb);
    return __saturatef(mix(low, high, column.t));
  }
  return mask_value(cover, (static_cast<int64_t>(z) * cover.rows + y) * cover.columns + x);
}
