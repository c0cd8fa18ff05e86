// decimate: photo and matte -> low-resolution frame of weighted light, (3) and (6).
//
//   in    photo (pictures, H, W, C) or (pictures, C, H, W); cover
//   out   frame (pictures, grid.rows + 2 border, grid.columns + 2 border) cells (w r, w g, w b, w), or (w v, w) for grey
//         cell X = sum over i of down[i] * pixel[X * factor + first + i], along both axes; w = 0 outside the photo
//   launch  blocks of (32, warps): each warp does `slabs` slabs of `factor` rows, and in these 32 * `each` cells; grid
//         (columns, rows, pictures); shared memory as in cuda.py
//   bytes per pixel  the photo and a full-size mask read once, 4 PLANES / factor^2 written
//
// A pixel counts in two cells along each axis where the kernel is a tent, in one where it is a box: a lane sums runs of
// `factor` pixels for their own cells and the ones before, and warps do so for slabs of rows.
#include "cover.cuh"

struct Glow {        // (3)
  float steep;       // weight falls as 1 - alpha * steep
  float low, slope;  // t = (Y - low) * slope
  float strength;    // boost = 2^(strength * t)
};

struct Grid {
  const float* down;  // (taps,)
  int factor, first, taps;
  int rows, columns;  // of cells that cover the photo
  int border;         // cells beyond them on every side
  int slabs;          // that each warp works through
  int each;           // neighbouring cells of a lane
};

constexpr int COPIES = 8;  // of the decoding table, interleaved: fewer lanes meet in one bank of shared memory

template <class T, int COLOURS>
__device__ __forceinline__ void decimate(const Photo& photo, const Cover& cover, const Glow& glow, const Grid& grid,
                                         Cell<COLOURS + 1>* frame) {
  constexpr int PLANES = COLOURS + 1;
  using Sum = Cell<PLANES>;
  const int lane = threadIdx.x, warp = threadIdx.y, warps = blockDim.y, z = blockIdx.z;
  const int factor = grid.factor, cells = WARP * grid.each, run = cells * factor;  // of a warp
  const bool overlap = grid.taps > factor;
  const int channels = COLOURS + (photo.opacity >= 0 ? 1 : 0);
  const int samples = cover.kind == COVER_GUIDED ? line_samples(cover, run) : 0;

  // Shared memory: shares of the taps, decoding table; then for each warp rows of sums, samples and pixels.
  DYNAMIC_SHARED(float4, shared);
  float2* const share = reinterpret_cast<float2*>(shared);  // of a run's pixel k in its own cell, and in the one before
  float* const decoding = reinterpret_cast<float*>(share + 16);
  Sum* const sums = reinterpret_cast<Sum*>(decoding + (sizeof(T) == 1 ? 256 * COPIES : 0));
  const int kept = overlap ? 4 : 1;  // rows of sums, see below
  float4* const lines = reinterpret_cast<float4*>(sums + warps * kept * cells);
  float4* const line = lines + warp * samples;
  uint8_t* const buffer =
      reinterpret_cast<uint8_t*>(lines + warps * samples) + warp * segment_bytes(run, sizeof(T), channels);
  for (int k = warp * WARP + lane; k < factor; k += warps * WARP) {
    share[k] = make_float2(grid.down[k], factor + k < grid.taps ? grid.down[factor + k] : 0.f);
  }
  if constexpr (sizeof(T) == 1) {
    for (int i = warp * WARP + lane; i < 256 * COPIES; i += warps * WARP)
      decoding[i] = __ldg(photo.table + i / COPIES);
  }
  __syncthreads();

  // Sums of a slab's rows: for its own row of cells, and for the one before, whose own are still open. Those of the
  // warp's first slab belong to the warp before, to which they are handed.
  int own = warp * kept * cells, open = own + cells;
  const int before = own + 2 * cells, handed = own + 3 * cells;
  const float* const table = decoding + lane % COPIES;
  const int column = blockIdx.x * (cells - overlap) - grid.border;  // of the warp's first cell
  const int begin = column * factor + grid.first;                   // its first pixel, which may lie outside
  const int left = max(begin, 0), n = min(begin + run, photo.width) - left;
  int row = blockIdx.y * (warps * grid.slabs - overlap) + warp * grid.slabs - grid.border;  // of the slab's cells
  const auto write = [&](int y, int first, int second) {  // cells with all their pixels
    const int wide = grid.columns + 2 * grid.border, high = grid.rows + 2 * grid.border;
    if (y >= grid.rows + grid.border) return;
    Sum* const to = frame + (static_cast<int64_t>(z) * high + y + grid.border) * wide + column + grid.border;
    for (int c = lane; c < min(cells - overlap, grid.columns + grid.border - column); c += WARP) {
      Sum sum = fetch_cell(sums + first + c);
      if (overlap) add(sum, 1.f, fetch_cell(sums + second + c));
      store_cell(to + c, sum);
    }
  };

#pragma unroll 1
  for (int slab = 0; slab < grid.slabs; ++slab, ++row) {
    const int earlier = overlap && slab == 0 ? handed : before;
    for (int c = lane; c < cells; c += WARP) {
      store_cell(sums + own + c, Sum{});
      if (overlap) store_cell(sums + earlier + c, Sum{});
    }
#pragma unroll 1
    for (int k = 0; k < factor; ++k) {
      const int y = row * factor + grid.first + k;
      if (y < 0 || y >= photo.height || n <= 0) continue;  // uniform within the warp
      const CoverRow matte = cover_row(cover, z, y, left, n, line);
      if (matte.flat && matte.value * glow.steep >= 1.f) continue;
      const T* const lowest = static_cast<const T*>(photo.pixels);
      const T* const from = lowest + z * photo.picture + (static_cast<int64_t>(y) * photo.width + left) * photo.pixel;
      const Segment<T> pixels = segment_at(buffer, from, photo.channel, photo.pixel, run);
      load_segment(pixels, from, photo.channel, channels, n, lowest, lowest + gridDim.z * photo.picture);
      __syncwarp();

      const float2 share_y = share[k];
      const auto count = [&](int c, const Sum& sum) {
        Sum total = fetch_cell(sums + own + c);
        add(total, share_y.x, sum);
        store_cell(sums + own + c, total);
        if (overlap) {
          total = fetch_cell(sums + earlier + c);
          add(total, share_y.y, sum);
          store_cell(sums + earlier + c, total);
        }
      };
      Sum mine = {};  // of the present cell
      int x = begin + lane * grid.each * factor;
      const T* pixel = pixels.first + (x - left) * pixels.pixel;
#pragma unroll 1
      for (int cell = 0; cell < grid.each; ++cell) {
        Sum next = {}, previous = {};
#pragma unroll 1
        for (int j = 0; j < factor; ++j, ++x, pixel += pixels.pixel) {
          T code[COLOURS] = {};
          float w = 0.f;
          if (x >= left && x - left < n) {
            float rgb[3];
#pragma unroll
            for (int c = 0; c < COLOURS; ++c)
              code[c] = pixel[c * pixels.channel];
            if (matte.guide) {
#pragma unroll
              for (int c = 0; c < 3; ++c)
                rgb[c] = shown(code[COLOURS == 3 ? c : 0]);
            }
            w = fmaxf(fmaf(-glow.steep, alpha_at(cover, matte, z, y, x, rgb), 1.f), 0.f);
          }
          if (!__any_sync(ALL, w > 0.f)) continue;
          Sum light_here;
#pragma unroll
          for (int c = 0; c < COLOURS; ++c) {
            if constexpr (sizeof(T) == 1) {
              light_here.v[c] = table[code[c] * COPIES];
            } else {
              light_here.v[c] = light(code[c], photo.linear);
            }
          }
          const float lum = COLOURS == 3 ? luminance(light_here.v) : light_here.v[0];
          if (lum > glow.low && glow.strength > 0.f)
            w *= exp2f(glow.strength * fminf((lum - glow.low) * glow.slope, 1.f));
          if (channels > COLOURS && w > 0.f) w *= shown(pixel[COLOURS * pixels.channel]);
#pragma unroll
          for (int c = 0; c < COLOURS; ++c)
            light_here.v[c] *= w;
          light_here.v[COLOURS] = w;
          const float2 share_x = share[j];
          add(next, share_x.x, light_here);
          if (overlap) add(previous, share_x.y, light_here);
        }
        if (cell > 0) {
          add(mine, 1.f, previous);
          count(lane * grid.each + cell - 1, mine);
        } else if (overlap) {  // of the lane before
          if (lane > 0) count(lane * grid.each - 1, previous);
          __syncwarp();
        }
        mine = next;
      }
      count(lane * grid.each + grid.each - 1, mine);
      __syncwarp();  // before the next row overwrites the buffers
    }
    __syncwarp();
    if (!overlap) {
      write(row, own, own);
    } else {
      if (slab > 0) write(row - 1, open, before);
      const int done = open;
      open = own;
      own = done;
    }
    __syncwarp();
  }
  __syncthreads();
  if (overlap && warp + 1 < warps) write(row - 1, open, handed + kept * cells);
}

// 3 blocks on a multiprocessor: 80 registers a thread.
#define ENTRY(T, NAME, COLOURS)                                                                           \
  extern "C" __global__ void __launch_bounds__(256, 2) decimate_##NAME##_##COLOURS(                       \
      const Photo photo, const Cover cover, const Glow glow, const Grid grid, Cell<COLOURS + 1>* frame) { \
    decimate<T, COLOURS>(photo, cover, glow, grid, frame);                                                \
  }
FOR_EVERY_PICTURE(ENTRY)
