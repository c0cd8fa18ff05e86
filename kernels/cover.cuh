// The matte at a pixel: a mask of the picture's size, or (4)'s guided-filter coefficients.
#pragma once
#include "pixel.cuh"

enum { COVER_NONE = 0, COVER_MASK = 1, COVER_GUIDED = 2 };

// A stack of mattes. Column of the mask or sample = across * x + left, row = down * y + top.
struct AlphaSource {
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

// The cell of a grid at pixel (z, y, x); Place, an AlphaSource or ColorFields, says where the grid lies under the picture.
template <class Place>
__device__ __forceinline__ float4 grid_at(const Place& place, const float4* grid, int z, int y, int x) {
  return mix(grid + static_cast<int64_t>(z) * place.rows * place.columns, place.columns,
             between(fmaf(place.down, y, place.top), place.rows),
             between(fmaf(place.across, x, place.left), place.columns));
}

// A mask of any size, and the pixel (z, y, x) of the picture it belongs to.
__device__ __forceinline__ float mask_value(const AlphaSource& cover, int64_t at) {
  const float v = cover.bytes ? __ldg(static_cast<const uint8_t*>(cover.mask) + at)
                              : __ldg(static_cast<const float*>(cover.mask) + at);
  return v * cover.unit;
}
__device__ __forceinline__ float resampled(const AlphaSource& cover, int z, int y, int x) {
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

// The matte over some rows of a strip, for a warp: where it is flat it is `value` everywhere, and needs no look at a pixel.
struct Patch {
  float value;  // -1: it is not
  __device__ __forceinline__ bool flat() const { return value >= 0.f; }
};

__device__ __forceinline__ Patch patch(const AlphaSource& cover, int z, int top, int bottom, int left, int right) {
  if (cover.kind != COVER_GUIDED) return {cover.kind == COVER_NONE ? 0.f : -1.f};
  const float4* const grid = cover.coefficients + static_cast<int64_t>(z) * cover.rows * cover.columns;
  const int low = between(fmaf(cover.down, top, cover.top), cover.rows).low,
            high = between(fmaf(cover.down, bottom - 1, cover.top), cover.rows).high,
            first = between(fmaf(cover.across, left, cover.left), cover.columns).low,
            last = between(fmaf(cover.across, right - 1, cover.left), cover.columns).high;
  const float start = __ldg(&grid[static_cast<int64_t>(low) * cover.columns + first].w);
  bool flat = true;
#pragma unroll 1
  for (int i = low; i <= high; ++i) {
#pragma unroll 1
    for (int j = first + threadIdx.x; j <= last; j += WARP) {
      const float4 c = __ldg(grid + static_cast<int64_t>(i) * cover.columns + j);
      flat = flat && c.x == 0.f && c.y == 0.f && c.z == 0.f && c.w == start;
    }
  }
  return {__all_sync(ALL, flat) ? __saturatef(start) : -1.f};
}

// A grid along a row of a strip, interpolated between the grid's rows once, into shared memory.
struct Line {
  const float4* samples;
  int first;
};

// Samples that n pixels need.
template <class Place>
__device__ __forceinline__ int line_samples(const Place& place, int n) {
  return static_cast<int>(n * place.across) + 3;
}

template <class Place>
__device__ __forceinline__ Line line_at(const Place& place, const float4* grid, int z, int y, int left, int right,
                                        float4* to) {
  const Between row = between(fmaf(place.down, y, place.top), place.rows);
  const int first = between(fmaf(place.across, left, place.left), place.columns).low,
            last = between(fmaf(place.across, right - 1, place.left), place.columns).high;
  const float4* const above = grid + (static_cast<int64_t>(z) * place.rows + row.low) * place.columns;
  const float4* const below = grid + (static_cast<int64_t>(z) * place.rows + row.high) * place.columns;
  __syncwarp();  // the row before has been read
#pragma unroll 1
  for (int i = first + threadIdx.x; i <= last; i += WARP)
    to[i - first] = mix(__ldg(above + i), __ldg(below + i), row.t);
  __syncwarp();
  return {to, first};
}

// Alpha at pixel x of the line; rgb are its display values.
__device__ __forceinline__ float alpha_at(const AlphaSource& cover, const Line& line, int x, const float* rgb) {
  const Between column = between(fmaf(cover.across, x, cover.left), cover.columns);
  // Interpolated after the product, which is the same and takes fewer registers.
  return __saturatef(mix(affine(line.samples[column.low - line.first], rgb),
                         affine(line.samples[column.high - line.first], rgb), column.t));
}

// A mask of the picture's size at a lane's pixels, as it is stored.
struct MaskQuad {
  Codes<float, QUAD> codes;  // or as many bytes, in each word
  __device__ __forceinline__ bool zero() const {
    return (codes.word[0] | codes.word[1] | codes.word[2] | codes.word[3]) == 0;
  }
  // Floats that are not negative are in the order of their bits.
  __device__ __forceinline__ bool full(const AlphaSource& cover) const {
    const uint32_t one = cover.bytes ? ALL : 0x3f800000u;
    return min(min(codes.word[0], codes.word[1]), min(codes.word[2], codes.word[3])) >= one;
  }
  __device__ __forceinline__ float at(const AlphaSource& cover, int i) const {
    return cover.unit * (cover.bytes ? static_cast<float>(__byte_perm(codes.word[0], 0, 0x4440 | i)) : codes.at(i));
  }
};

__device__ __forceinline__ MaskQuad load_mask(const AlphaSource& cover, int64_t at, bool inside) {
  const int64_t all = static_cast<int64_t>(gridDim.z) * cover.rows * cover.columns;
  MaskQuad quad;
  if (cover.bytes) {
    const uint8_t* const mask = static_cast<const uint8_t*>(cover.mask);
    const uint32_t word = load_codes<uint8_t, QUAD>(mask + at, inside, mask, mask + all).word[0];
    quad.codes = {{word, word, word, word}};
  } else {
    const float* const mask = static_cast<const float*>(cover.mask);
    quad.codes = load_codes<float, QUAD>(mask + at, inside, mask, mask + all);
  }
  return quad;
}
