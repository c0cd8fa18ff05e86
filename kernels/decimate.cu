// decimate: photo and matte -> low-resolution frame of weighted light, (3) and (6).
//
//   in    photo (pictures, H, W, C) or (pictures, C, H, W); cover
//   out   frame (pictures, grid.rows + 2 border, grid.columns + 2 border) cells (w r, w g, w b, w), or (w v, w) for grey
//         cell X = sum over i of down[i] * pixel[X * factor + first + i], along both axes; w = 0 outside the photo
//   launch  blocks of (32, warps), each of slabs * warps slabs of `factor` rows and 32 runs of `factor` pixels; grid
//         (columns, rows, pictures); shared memory as shared_bytes in cuda.py
//   bytes per pixel  the photo and a full-size mask read once, 4 PLANES / factor^2 written
//
// A pixel counts in two cells along each axis where the kernel is a tent, in one where it is a box: a lane sums its run of
// `factor` pixels for its own cell and the one before, shuffles pass the latter on, and warps do so for slabs of rows.
#include "cover.cuh"

struct Glow {  // (3)
  float steep;        // weight falls as 1 - alpha * steep
  float low, slope;   // t = (Y - low) * slope
  float strength;     // boost = 2^(strength * t)
};

struct Grid {
  const float* down;         // (taps,)
  int factor, first, taps;
  int rows, columns;         // of cells that cover the photo
  int border;                // cells beyond them on every side
  int slabs;                 // that each warp works through
};

constexpr int COPIES = 8;  // of the decoding table, interleaved: fewer lanes meet in one bank of shared memory

template <class T, int COLOURS>
__device__ __forceinline__ void decimate(const Photo& photo, const Cover& cover, const Glow& glow, const Grid& grid,
                                         Cell<COLOURS + 1>* frame) {
  constexpr int PLANES = COLOURS + 1;
  using Sum = Cell<PLANES>;
  const int lane = threadIdx.x, warp = threadIdx.y, warps = blockDim.y, z = blockIdx.z;
  const int factor = grid.factor, run = WARP * factor, overlap = grid.taps > factor ? 1 : 0;
  const int channels = COLOURS + (photo.opacity >= 0 ? 1 : 0);
  const int samples = cover.kind == COVER_GUIDED ? line_samples(cover, run) : 0;
  const int staged = segment_bytes(run, sizeof(T), channels);

  // Shared memory: shares of the taps, decoding table, first sums of each warp, and a warp's own samples and pixels.
  DYNAMIC_SHARED(float4, shared);
  float2* const share = reinterpret_cast<float2*>(shared);  // of a run's pixel k in its own cell, and in the one before
  float* const decoding = reinterpret_cast<float*>(share + 16);
  Sum* const handed = reinterpret_cast<Sum*>(decoding + (sizeof(T) == 1 ? 256 * COPIES : 0));
  float4* const line = reinterpret_cast<float4*>(handed + warps * WARP) + warp * samples;
  uint8_t* const buffer = reinterpret_cast<uint8_t*>(reinterpret_cast<float4*>(handed + warps * WARP) + warps * samples) + warp * staged;
  for (int k = warp * WARP + lane; k < factor; k += warps * WARP) {
    share[k] = make_float2(grid.down[k], factor + k < grid.taps ? grid.down[factor + k] : 0.f);
  }
  if (sizeof(T) == 1) {
    for (int i = warp * WARP + lane; i < 256 * COPIES; i += warps * WARP) decoding[i] = __ldg(photo.table + i / COPIES);
  }
  __syncthreads();

  const T* const lowest = static_cast<const T*>(photo.pixels);
  const T* const picture = lowest + z * photo.picture;
  const int wide = grid.columns + 2 * grid.border, high = grid.rows + 2 * grid.border;
  const int column = blockIdx.x * (WARP - overlap) + lane - grid.border;  // of the lane's cell
  const int begin = (column - lane) * factor + grid.first;                // first pixel of the warp's runs, and its columns
  const int left = max(begin, 0), n = min(begin + run, photo.width) - left;
  int row = (blockIdx.y * (warps * grid.slabs - overlap) + warp * grid.slabs) - grid.border;  // of the slab's cells
  Sum open;                                                                                    // rows of cell row - 1, its part
  auto write = [&](int y, const Sum& sum) {  // cells of a full window alone; with an overlap the last lane has none
    if (lane < WARP - overlap && column < grid.columns + grid.border && y < grid.rows + grid.border) {
      store_cell(frame + (static_cast<int64_t>(z) * high + y + grid.border) * wide + column + grid.border, sum);
    }
  };

  for (int slab = 0; slab < grid.slabs; ++slab, ++row) {
    Sum own = {}, before = {};  // of the slab's rows: for its own row of cells, and for the one before
    for (int k = 0; k < factor; ++k) {
      const int y = row * factor + grid.first + k;
      if (y < 0 || y >= photo.height || n <= 0) continue;  // uniform within the warp
      const CoverRow matte = cover_row(cover, z, y, left, n, line);
      if (matte.flat && matte.value * glow.steep >= 1.f) continue;
      const int64_t at = static_cast<int64_t>(y) * photo.width + left;
      const T* const from = picture + at * photo.pixel;
      const Segment<T> pixels = segment_at(buffer, from, photo.channel, photo.pixel, run);
      load_segment(pixels, from, photo.channel, channels, n, lowest, lowest + gridDim.z * photo.picture);
      __syncwarp();

      Sum mine = {}, previous = {};
      for (int j = 0; j < factor; ++j) {
        const int x = begin + lane * factor + j, i = x - left;
        const bool inside = x >= 0 && x < photo.width;
        T code[COLOURS];
        float rgb[3], w = 0.f;
        if (inside) {
#pragma unroll
          for (int c = 0; c < COLOURS; ++c) code[c] = pixels.at(c, i);
          if (matte.guide) {
#pragma unroll
            for (int c = 0; c < 3; ++c) rgb[c] = shown(code[COLOURS == 3 ? c : 0]);
          }
          w = fmaxf(fmaf(-glow.steep, alpha_at(cover, matte, z, y, x, rgb), 1.f), 0.f);
        }
        if (!__any_sync(ALL, w > 0.f)) continue;
        if (w > 0.f) {
          Sum cell;
#pragma unroll
          for (int c = 0; c < COLOURS; ++c) {
            if constexpr (sizeof(T) == 1) {
              cell.v[c] = decoding[code[c] * COPIES + lane % COPIES];
            } else {
              cell.v[c] = light(code[c], photo.linear);
            }
          }
          const float lum = COLOURS == 3 ? luminance(cell.v) : cell.v[0];
          if (glow.strength > 0.f && lum > glow.low) w *= exp2f(glow.strength * fminf((lum - glow.low) * glow.slope, 1.f));
          if (COLOURS == 3 && photo.opacity >= 0) w *= shown(pixels.at(COLOURS, i));
#pragma unroll
          for (int c = 0; c < COLOURS; ++c) cell.v[c] *= w;
          cell.v[COLOURS] = w;
          const float2 s = share[j];
          add(mine, s.x, cell);
          add(previous, s.y, cell);
        }
      }
      if (overlap) {
#pragma unroll
        for (int p = 0; p < PLANES; ++p) mine.v[p] += __shfl_down_sync(ALL, previous.v[p], 1);
      }
      const float2 s = share[k];
      add(own, s.x, mine);
      add(before, s.y, mine);
      __syncwarp();  // before the next row overwrites the buffers
    }
    if (slab == 0) {
      store_cell(handed + warp * WARP + lane, before);
    } else {
      add(open, 1.f, before);
      write(row - 1, open);
    }
    open = own;
  }
  __syncthreads();
  if (warp + 1 < warps || !overlap) {
    if (overlap) add(open, 1.f, fetch_cell(handed + (warp + 1) * WARP + lane));
    write(row - 1, open);
  }
}

// 3 blocks on a multiprocessor: 80 registers a thread.
#define ENTRY(T, NAME, COLOURS)                                                                              \
  extern "C" __global__ void __launch_bounds__(256, 3) decimate_##NAME##_##COLOURS(                             \
      const Photo photo, const Cover cover, const Glow glow, const Grid grid, Cell<COLOURS + 1>* frame) {   \
    decimate<T, COLOURS>(photo, cover, glow, grid, frame);                                                   \
  }
FOR_EVERY_PICTURE(ENTRY)
