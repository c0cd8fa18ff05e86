// shrink: photo -> the square that a network sees, as torch's interpolate(mode="bilinear", antialias=True) makes it.
//
//   in    photo (pictures, H, W, C) or (pictures, C, H, W)
//   out   (pictures, 3, side, side) display values; grey three times, and no opacity
//         cell i of n pixels, along both axes: their mean, in which pixel x weighs
//         1 - |x + 1/2 - (i + 1/2) n / side| / max(n / side, 1), where that is more than 0
//   down, across  pixels for each cell, n / side
//   launch  blocks of (32, WARPS), each for `run` cells of a row; grid (runs, side, pictures)
//   bytes per pixel  the photo read twice, because the triangles of two rows of cells overlap: from memory, and then
//         from the L2 cache where the photo fits in
//
// A lane sums its four pixels down the rows in registers; only what that comes to is summed along x, from shared memory.
#include "pixel.cuh"

constexpr int WARPS = 8;              // of a block
constexpr int CHUNK = WARPS * STRIP;  // pixels of a row that a block sums at a time

// A code value as it is summed: integers become shares of white when their sums do.
__device__ __forceinline__ float number(uint8_t v) { return v; }
__device__ __forceinline__ float number(uint16_t v) { return v; }
__device__ __forceinline__ float number(__half v) { return light(v, 0); }
__device__ __forceinline__ float number(float v) { return light(v, 0); }

// The pixels that count in a cell. Weights are in units of which all are whole numbers, so that none is rounded.
struct Triangle {
  int first, end;
  float apart;  // of the first pixel from the cell's middle
  float step, most;
  __device__ __forceinline__ float weight(int pixel) const {
    return most - fabsf(fmaf(static_cast<float>(pixel - first), step, apart));
  }
};

__device__ __forceinline__ Triangle triangle(int cell, int cells, int pixels, float scale) {
  const float reach = fmaxf(scale, 1.f), middle = (cell + 0.5f) * scale;
  const int first = max(__float2int_rd(middle - reach - 0.5f) + 1, 0);
  const int end = min(__float2int_ru(middle + reach - 0.5f), pixels);
  const int64_t apart = (2 * int64_t{first} + 1) * cells - (2 * int64_t{cell} + 1) * pixels;
  return {first, end, static_cast<float>(apart), 2.f * cells, 2.f * max(pixels, cells)};
}

// Means down the rows of a lane's pixels, whose first are `from`; `INSIDE` the array, whole words included.
template <class T, int COLOURS, int PIXEL, bool INSIDE>
__device__ __forceinline__ void down_rows(const Photo& photo, const Triangle& rows, const T* from,
                                          float (*mean)[QUAD]) {
  using Pixels = Quad<T, COLOURS, PIXEL>;
  const T* const lowest = static_cast<const T*>(photo.pixels);
  const T* const highest = lowest + gridDim.z * photo.picture;
  const auto load = [&]() {
    return load_quad<T, COLOURS, PIXEL>(from, photo.channel, COLOURS, INSIDE, lowest, highest);
  };
  constexpr bool AHEAD = INSIDE && sizeof(T) < 4;  // load a row while the one before is worked on
  float total = 0.f;
  Pixels next = {};
  if (AHEAD) next = load();
#pragma unroll 1
  for (int y = rows.first; y < rows.end; ++y) {
    const Pixels pixels = AHEAD ? next : load();
    from += photo.width * PIXEL;
    if (AHEAD && y + 1 < rows.end) next = load();
    const float w = rows.weight(y);
    total += w;
#pragma unroll
    for (int c = 0; c < COLOURS; ++c) {
#pragma unroll
      for (int i = 0; i < QUAD; ++i)
        mean[c][i] = fmaf(w, number(pixels.at(c, i)), mean[c][i]);
    }
  }
  const float share = (1 / WHITE<T>) / total;
#pragma unroll
  for (int c = 0; c < COLOURS; ++c) {
#pragma unroll
    for (int i = 0; i < QUAD; ++i)
      mean[c][i] *= share;
  }
}

template <class T, int COLOURS, int PIXEL>
__device__ __forceinline__ void shrink(const Photo& photo, float* out, int side, int run, float down, float across) {
  __shared__ float means[COLOURS][WARPS * SLOTS];  // of a chunk's pixels
  const int lane = threadIdx.x, warp = threadIdx.y, thread = warp * WARP + lane, row = blockIdx.y;
  const int column = blockIdx.x * run, cells = min(run, side - column);  // of the block, at most one for each thread
  const Triangle rows = triangle(row, side, photo.height, down);
  const int end = triangle(column + cells - 1, side, photo.width, across).end;

  float sum[COLOURS] = {}, total = 0.f;
  for (int begin = triangle(column, side, photo.width, across).first; begin < end; begin += CHUNK) {
    if (begin + warp * STRIP < end) {
      const int x = begin + warp * STRIP + lane * QUAD;
      const int64_t at = (static_cast<int64_t>(blockIdx.z) * photo.height + rows.first) * photo.width + x;
      const bool inside = inside_array(at, at + static_cast<int64_t>(rows.end - 1 - rows.first) * photo.width,
                                       static_cast<int64_t>(gridDim.z) * photo.height * photo.width);
      const T* const from = static_cast<const T*>(photo.pixels) + blockIdx.z * photo.picture +
                            (static_cast<int64_t>(rows.first) * photo.width + x) * PIXEL;
      float mean[COLOURS][QUAD] = {};
      if (inside) {
        down_rows<T, COLOURS, PIXEL, true>(photo, rows, from, mean);
      } else if (PIXEL > 1) {
        down_rows<T, COLOURS, PIXEL, false>(photo, rows, from, mean);
      } else {  // plane by plane, which takes fewer registers
#pragma unroll
        for (int c = 0; c < COLOURS; ++c)
          down_rows<T, 1, 1, false>(photo, rows, from + c * photo.channel, mean + c);
      }
#pragma unroll
      for (int c = 0; c < COLOURS; ++c) {
#pragma unroll
        for (int i = 0; i < QUAD; ++i)
          means[c][slot(warp * STRIP + lane * QUAD) + i] = mean[c][i];
      }
    }
    __syncthreads();
    if (thread < cells) {
      const Triangle own = triangle(column + thread, side, photo.width, across);
      const int last = min(own.end, begin + CHUNK);
#pragma unroll 1
      for (int x = max(own.first, begin); x < last; ++x) {
        const float w = own.weight(x);
        total += w;
#pragma unroll
        for (int c = 0; c < COLOURS; ++c)
          sum[c] = fmaf(w, means[c][slot(x - begin)], sum[c]);
      }
    }
    __syncthreads();
  }
  if (thread >= cells) return;
#pragma unroll
  for (int c = 0; c < 3; ++c) {
    const int64_t plane = static_cast<int64_t>(blockIdx.z) * 3 + c;
    out[(plane * side + row) * side + column + thread] = sum[COLOURS == 3 ? c : 0] / total;
  }
}

#define ENTRY(T, NAME, COLOURS, PIXEL)                                                              \
  extern "C" __global__ void __launch_bounds__(WARP* WARPS, 4) shrink_##NAME##_##COLOURS##_##PIXEL( \
      const Photo photo, float* out, int side, int run, float down, float across) {                 \
    shrink<T, COLOURS, PIXEL>(photo, out, side, run, down, across);                                 \
  }
FOR_EVERY_PICTURE(ENTRY)
