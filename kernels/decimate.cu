// decimate: photo and matte -> low-resolution frame of weighted light, (3) and (6).
//
//   in    photo (pictures, H, W, C) or (pictures, C, H, W); cover
//   out   frame (pictures, grid.rows + 2 border, grid.columns + 2 border) cells (w r, w g, w b, w), or (w v, w) for grey
//         cell X = sum over i of weights[i] * pixel[X * factor + first + i], along both axes; w = 0 outside the photo
//   launch  blocks of (32, warps): each warp does `slabs` slabs of `down.factor` rows of a strip of 128 pixels, in which
//         `cells` cells lie whole; grid (columns, rows, pictures); shared memory as in cuda.py
//   bytes per pixel  the photo and a full-size mask read once, 4 PLANES / (down.factor * across.factor) written
//
// A lane sums its four pixels down the rows in registers, and only what a slab comes to is summed along x. A pixel counts
// in two cells along each axis, and in one where cells are pixels.
#include "cover.cuh"

struct HighlightCurve {  // (3)
  float steep;           // weight falls as 1 - alpha * steep
  float low, slope;      // t = (V - low) * slope
  float strength;        // boost = 2^(strength * t)
  uint32_t hot;  // 8-bit codes: 255 - the largest that is not boosted as a channel, in each byte; ~0: all may be
};

struct Axis {
  int factor, first, taps;
};

struct Grid {
  const float* weights_down;    // (down.taps,)
  const float* weights_across;  // (across.taps,)
  Axis down, across;
  int rows, columns;  // of cells that cover the photo
  int border;         // cells beyond them on every side
  int slabs;          // that each warp works through
  int cells;          // of a strip: all their pixels lie in it
};

constexpr int MOST = 16;   // pixels of a cell along one axis
constexpr int COPIES = 8;  // of the decoding table, interleaved: fewer lanes meet in one bank of shared memory

// A lane's sums down the rows: of the slab's own cells, and of those before, which are still open. The weight of `even`
// rows, in which all pixels weigh 1, is kept once for them all.
template <int COLOURS>
struct Sums {
  Cell<COLOURS + 1> own[QUAD], open[QUAD];
  float2 even;
};

template <int COLOURS>
__device__ __forceinline__ void count_even(Sums<COLOURS>& sums, const float2& part,
                                           const float (&light)[QUAD][COLOURS]) {
  sums.even.x += part.x;
  sums.even.y += part.y;
#pragma unroll
  for (int i = 0; i < QUAD; ++i) {
#pragma unroll
    for (int c = 0; c < COLOURS; ++c) {
      sums.own[i].v[c] = fmaf(part.x, light[i][c], sums.own[i].v[c]);
      sums.open[i].v[c] = fmaf(part.y, light[i][c], sums.open[i].v[c]);
    }
  }
}

template <int COLOURS>
__device__ __forceinline__ void count_weighted(Sums<COLOURS>& sums, const float2& part,
                                               const float (&light)[QUAD][COLOURS], const float (&w)[QUAD]) {
#pragma unroll
  for (int i = 0; i < QUAD; ++i) {
    Cell<COLOURS + 1> here;
#pragma unroll
    for (int c = 0; c < COLOURS; ++c)
      here.v[c] = light[i][c] * w[i];
    here.v[COLOURS] = w[i];
    add(sums.own[i], part.x, here);
    add(sums.open[i], part.y, here);
  }
}

// Light of a lane's pixels. Of 8-bit codes it is looked up in a table of COPIES floats a code, of which `copy` are bytes to
// the lane's own.
template <class T, int COLOURS, int PIXEL>
__device__ __forceinline__ void lights(const Photo& photo, const float* table, uint32_t copy,
                                       const Quad<T, COLOURS, PIXEL>& pixels, float (&light_at)[QUAD][COLOURS]) {
#pragma unroll
  for (int i = 0; i < QUAD; ++i) {
#pragma unroll
    for (int c = 0; c < COLOURS; ++c) {
      if constexpr (sizeof(T) == 1) {
        constexpr int EACH = COPIES * sizeof(float);  // 32 bytes: a code, shifted by 5
        const int at = PIXEL > 1 ? i * PIXEL + c : i, shift = at % 4 * 8 - 5;
        const uint32_t word = pixels.plane[PIXEL > 1 ? 0 : c].word[at / 4];
        const uint32_t offset = ((shift < 0 ? word << 5 : word >> (shift & 31)) & 255 * EACH) | copy;
        light_at[i][c] = *reinterpret_cast<const float*>(reinterpret_cast<const char*>(table) + offset);
      } else {
        light_at[i][c] = light(pixels.at(c, i), photo.linear);
      }
    }
  }
}

// Whether any of a lane's pixels may be boosted: V is at most the brightest channel.
template <class T, int COLOURS, int PIXEL>
__device__ __forceinline__ bool hot(const HighlightCurve& curve, const Quad<T, COLOURS, PIXEL>& pixels,
                                    const float (&light_at)[QUAD][COLOURS]) {
  if constexpr (sizeof(T) == 1) {
    uint32_t found = 0;
#pragma unroll
    for (int p = 0; p < (PIXEL > 1 ? 1 : COLOURS); ++p) {
#pragma unroll
      for (int i = 0; i < PIXEL; ++i) {
        const uint32_t word = pixels.plane[p].word[i];  // bytes from 128 on carry into their highest bit
        found |= ((word & 0x7f7f7f7fu) + curve.hot) & word;
      }
    }
    return (found & 0x80808080u) != 0 || curve.hot == ~0u;
  } else {
    float most = 0.f;
#pragma unroll
    for (int i = 0; i < QUAD; ++i) {
#pragma unroll
      for (int c = 0; c < COLOURS; ++c)
        most = fmaxf(most, light_at[i][c]);
    }
    return curve.strength > 0.f && most > curve.low;
  }
}

template <class T, int COLOURS, int PIXEL>
__device__ __forceinline__ void decimate(const Photo& photo, const AlphaSource& cover, const HighlightCurve& curve,
                                         const Grid& grid, Cell<COLOURS + 1>* frame) {
  constexpr int PLANES = COLOURS + 1;
  using Sum = Cell<PLANES>;
  using Pixels = Quad<T, COLOURS, PIXEL>;
  const int lane = threadIdx.x, warp = threadIdx.y, warps = blockDim.y, z = blockIdx.z;
  const int factor = grid.down.factor;
  const bool overlap = grid.down.taps > factor, beside = grid.across.taps > grid.across.factor;
  const bool opacity = photo.opacity >= 0;
  const int samples = cover.kind == COVER_GUIDED ? line_samples(cover, STRIP) : 0;

  // Shared memory: shares of both axes' taps; then for each warp a row of sums, cells and samples.
  DYNAMIC_SHARED(float4, shared);
  float2* const share = reinterpret_cast<float2*>(shared);  // of a cell's pixel k in it, and in the cell before
  float2* const share_across = share + MOST;
  Sum* const sums = reinterpret_cast<Sum*>(share_across + MOST);
  __shared__ float decoding[sizeof(T) == 1 ? 256 * COPIES : 1];  // at a known address, so that a look-up adds nothing
  Sum* const own_sums = sums + warp * SLOTS;
  Sum* const handed = sums + warps * SLOTS;  // warps * cells, if the kernels overlap
  float4* const line = reinterpret_cast<float4*>(handed + (overlap ? warps * grid.cells : 0)) + warp * samples;
  const auto split = [&](const Axis& axis, const float* weights, float2* shares) {
    for (int k = warp * WARP + lane; k < axis.factor; k += warps * WARP)
      shares[k] = make_float2(weights[k], axis.factor + k < axis.taps ? weights[axis.factor + k] : 0.f);
  };
  split(grid.down, grid.weights_down, share);
  split(grid.across, grid.weights_across, share_across);
  if constexpr (sizeof(T) == 1) {
    for (int i = warp * WARP + lane; i < 256 * COPIES; i += warps * WARP)
      decoding[i] = __ldg(photo.table + i / COPIES);
  }
  __syncthreads();
  const uint32_t copy = lane % COPIES * sizeof(float);

  const int column = blockIdx.x * grid.cells - grid.border;           // of the strip's first cell
  const int begin = column * grid.across.factor + grid.across.first;  // its first pixel, which may lie outside
  const int left = max(begin, 0), right = min(begin + STRIP, photo.width), x = begin + lane * QUAD;
  int row = blockIdx.y * (warps * grid.slabs - overlap) + warp * grid.slabs - grid.border;  // of the slab's cells
  const int top = max(row * factor + grid.down.first, 0);
  int bottom = min((row + grid.slabs) * factor + grid.down.first, photo.height);
  const bool whole = __all_sync(ALL, x >= 0 && x + QUAD <= photo.width);
  Patch matte = {0.f};
  if (top < bottom && left < right) matte = patch(cover, z, top, bottom, left, right);
  if (left >= right || (matte.flat() && matte.value * curve.steep >= 1.f)) bottom = top;  // nothing counts

  const T* const lowest = static_cast<const T*>(photo.pixels);
  const T* from = lowest + z * photo.picture + (static_cast<int64_t>(top) * photo.width + x) * PIXEL;
  int64_t at = (static_cast<int64_t>(z) * photo.height + top) * photo.width + x;
  const bool inside = inside_array(at, at + static_cast<int64_t>(bottom - 1 - top) * photo.width,
                                   static_cast<int64_t>(gridDim.z) * photo.height * photo.width);
  const auto load = [&]() {
    return load_quad<T, COLOURS, PIXEL>(from, photo.channel, COLOURS + opacity, inside, lowest,
                                        lowest + gridDim.z * photo.picture);
  };
  const bool masked = cover.kind == COVER_MASK;
  constexpr bool AHEAD = sizeof(T) < 4;  // load a row while the one before is worked on; wider types lack the registers
  Pixels next = {};
  MaskQuad next_mask = {};
  if (top < bottom) {
    if (AHEAD) next = load();
    if (masked) next_mask = load_mask(cover, at, inside);
  }

  Sums<COLOURS> sums_down = {};
  const auto along = [&](const Sum* columns, const auto& give) {  // sum along x
#pragma unroll
    for (int i = 0; i < QUAD; ++i)
      store_cell(own_sums + slot(lane * QUAD) + i, columns[i]);
    __syncwarp();
#pragma unroll 1
    for (int c = lane; c < grid.cells; c += WARP) {
      Sum sum = {};
#pragma unroll 1
      for (int k = 0; k < grid.across.factor; ++k) {
        const float2 part = share_across[k];
        add(sum, part.x, fetch_cell(own_sums + slot(c * grid.across.factor + k)));
        if (beside) add(sum, part.y, fetch_cell(own_sums + slot((c + 1) * grid.across.factor + k)));
      }
      give(c, sum);
    }
    __syncwarp();
  };
  const auto write = [&](int y, int c, const Sum& sum) {
    const int wide = grid.columns + 2 * grid.border, high = grid.rows + 2 * grid.border;
    if (y >= grid.rows + grid.border || column + c >= grid.columns + grid.border) return;
    const int64_t above = static_cast<int64_t>(z) * high + y + grid.border;
    store_cell(frame + above * wide + column + grid.border + c, sum);
  };

  int y = top;
#pragma unroll 1
  for (int slab = 0; slab < grid.slabs; ++slab, ++row) {
    const int start = row * factor + grid.down.first, end = min(start + factor, bottom);
#pragma unroll 2
    for (; y < end; ++y) {
      const Pixels pixels = AHEAD ? next : load();
      const MaskQuad mask = next_mask;
      from += photo.width * PIXEL;
      at += photo.width;
      if (y + 1 < bottom) {
        if (AHEAD) next = load();
        if (masked) next_mask = load_mask(cover, at, inside);
      }

      // Weights: 1 all over the strip, or one for each pixel.
      float w[QUAD] = {1.f, 1.f, 1.f, 1.f};
      const bool even = whole && !opacity && __all_sync(ALL, masked ? mask.zero() : matte.value == 0.f);
      bool counts = even;
      if (!even && !(masked && __all_sync(ALL, mask.full(cover)))) {
        Line coefficients = {};
        if (cover.kind == COVER_GUIDED && !matte.flat()) {
          coefficients = line_at(cover, cover.coefficients, z, y, left, right, line);
        }
        bool some = false;
#pragma unroll
        for (int i = 0; i < QUAD; ++i) {
          const bool there = x + i >= left && x + i < right;
          float alpha = matte.value;
          if (masked) {
            alpha = mask.at(cover, i);
          } else if (there && !matte.flat()) {
            float rgb[3];
#pragma unroll
            for (int c = 0; c < 3; ++c)
              rgb[c] = shown(pixels.at(COLOURS == 3 ? c : 0, i));
            alpha = alpha_at(cover, coefficients, x + i, rgb);
          }
          w[i] = there ? fmaxf(fmaf(-curve.steep, alpha, 1.f), 0.f) : 0.f;
          some = some || w[i] > 0.f;
        }
        counts = __any_sync(ALL, some);
      }
      if (counts) {
        const float2 part = share[y - start];
        float light_at[QUAD][COLOURS];
        lights(photo, decoding, copy, pixels, light_at);
        const bool boosted = __any_sync(ALL, hot(curve, pixels, light_at));
        if (even && !boosted) {
          count_even(sums_down, part, light_at);
        } else {
#pragma unroll
          for (int i = 0; i < QUAD; ++i) {
            const float bright = COLOURS == 3 ? brightness(light_at[i]) : light_at[i][0];
            w[i] *= exp2f(curve.strength * __saturatef((bright - curve.low) * curve.slope));
            if (opacity) w[i] *= shown(pixels.at(COLOURS == 3 ? 3 : 0, i));
          }
          count_weighted(sums_down, part, light_at, w);
        }
      }
    }

#pragma unroll
    for (int i = 0; i < QUAD; ++i) {
      sums_down.own[i].v[COLOURS] += sums_down.even.x;
      sums_down.open[i].v[COLOURS] += sums_down.even.y;
    }
    if (!overlap) {
      along(sums_down.own, [&](int c, const Sum& sum) { write(row, c, sum); });
    } else {
      // The warp's first slab ends the last cells of the warp before, to which it hands its sums.
      along(sums_down.open, [&](int c, const Sum& sum) {
        if (slab == 0) {
          store_cell(handed + warp * grid.cells + c, sum);
        } else {
          write(row - 1, c, sum);
        }
      });
    }
#pragma unroll
    for (int i = 0; i < QUAD; ++i)
      sums_down.open[i] = sums_down.own[i], sums_down.own[i] = Sum{};
    sums_down.even = make_float2(0.f, 0.f);
  }
  if (!overlap) return;
  __syncthreads();
  if (warp + 1 == warps) return;
  along(sums_down.open, [&](int c, Sum sum) {
    add(sum, 1.f, fetch_cell(handed + (warp + 1) * grid.cells + c));
    write(row - 1, c, sum);
  });
}

#define ENTRY(T, NAME, COLOURS, PIXEL)                                                                              \
  extern "C" __global__ void __launch_bounds__(256, 2)                                                              \
      decimate_##NAME##_##COLOURS##_##PIXEL(const Photo photo, const AlphaSource cover, const HighlightCurve curve, \
                                            const Grid grid, Cell<COLOURS + 1>* frame) {                            \
    decimate<T, COLOURS, PIXEL>(photo, cover, curve, grid, frame);                                                  \
  }
FOR_EVERY_PICTURE(ENTRY)
