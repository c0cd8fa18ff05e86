// matte: what the road needs to know of the subject, from a few hundred samples a side: (4)'s coefficients of alpha
// and (5)'s colour fields. Sample (i, j) is pixel (top + i * step, left + j * step).
//
//   resample  a mask of another size at every pixel, (pictures, H, W) float
//   fit       photo, mask -> the fit of every sample's own window times its weight, (pictures, rows, columns) float4,
//             and the weight
//   smooth    the weighted means of fits over windows, stretched, and held solid where the mask is sure
//   cells     photo, cover -> sums of light and weight over cells of 4 x 4 samples, and of 2 x 2 and 4 x 4 such cells;
//             (2 pictures, h, w) float4, the subject's before the background's
//   pyramid   coarser levels of these up to one cell, and back to colours: push and pull
//   pull      colours of the two finest levels: (2 pictures, h, w) float4
//   launch  one thread for each result in blocks of 32 x 8 or 16 x 16 (pyramid: one block of 1024 for each picture and field)
//   bytes   at most 512 x 512 samples: some 10 MB for one picture, from the L2 cache but for the samples themselves
#include "cover.cuh"

struct Sampling {
  int step, top, left, rows, columns;
};

struct Tuning {
  float epsilon;             // of the fit
  float flat;                // variance of the mask under which a window lies on one side
  float unsure;              // weight of a sample at the mask's own edge
  float explained;           // share of the mask's variance from which a fit is stretched
  float doubt;               // unexplained variance that halves a window's weight
  float stretch;             // alpha this near 0 or 1 becomes 0 or 1
  float certain, certainty;  // (around - certain) * certainty, in [0, 1]: how far the mask is held to be subject
  float solid, trace;        // weight of a sample in the subject's colour: 1 - (1 - alpha) * solid + trace alpha^4
  float steep;               // and in the background's: 1 - alpha * steep
  float below;               // weight of a cell under which coarser ones fill it in
  int around;                // samples to either side, diagonally, where the mask is asked as well
};

constexpr int WINDOW = 7, MEAN = 4;   // radius of the windows that are fitted, and averaged (matting.py)
constexpr int ACROSS = 32, DOWN = 8;  // samples of a block
constexpr int PLANES = 15;            // of which a fit needs the mean
constexpr int CELL = 4, BLOCK = 16;   // samples along a cell, and along a block of `cells`

__device__ __forceinline__ float square(float v) { return v * v; }

template <class T>
__device__ __forceinline__ const T* sample_at(const Photo& photo, const Sampling& s, int z, int i, int j) {
  const int64_t at = static_cast<int64_t>(s.top + i * s.step) * photo.width + s.left + j * s.step;
  return static_cast<const T*>(photo.pixels) + z * photo.picture + at * photo.pixel;
}
__device__ __forceinline__ float sampled(const AlphaSource& mask, const Sampling& s, int z, int i, int j) {
  return resampled(mask, z, s.top + i * s.step, s.left + j * s.step);
}
// Mean of the mask at a sample, where it is `here`, and at four points diagonally from it.
__device__ __forceinline__ float surroundings(const AlphaSource& mask, const Sampling& s, int z, int i, int j, int d,
                                              float here) {
  const float corners = sampled(mask, s, z, i - d, j - d) + sampled(mask, s, z, i - d, j + d) +
                        sampled(mask, s, z, i + d, j - d) + sampled(mask, s, z, i + d, j + d);
  return 0.2f * (here + corners);
}

extern "C" __global__ void __launch_bounds__(256) resample(const AlphaSource mask, float* out, int height, int width) {
  const int x = blockIdx.x * WARP + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x < width && y < height) {
    out[(static_cast<int64_t>(blockIdx.z) * height + y) * width + x] = resampled(mask, blockIdx.z, y, x);
  }
}

// Ridge regression of the mask on the photo's colours in a window. Sums along rows for all planes at once, then along
// columns one by one. Colours are taken relative to the tile's middle, so that small variances do not drown in rounding.
template <class T>
__device__ __forceinline__ void fit(const Photo& photo, const AlphaSource& mask, const Sampling& s,
                                    const Tuning& tuning, float4* out, float* weights) {
  constexpr int TILE_ACROSS = ACROSS + 2 * WINDOW, TILE_DOWN = DOWN + 2 * WINDOW, TILE = TILE_ACROSS * TILE_DOWN;
  DYNAMIC_SHARED(float4, tile);  // (TILE_DOWN, TILE_ACROSS) of r, g, b, mask; then of trust; then the sums along rows
  float* const trust = reinterpret_cast<float*>(tile + TILE);
  float* const sums = trust + TILE;  // (TILE_DOWN, PLANES, ACROSS)
  const int z = blockIdx.z, thread = threadIdx.y * ACROSS + threadIdx.x, threads = ACROSS * DOWN;
  const int i0 = blockIdx.y * DOWN, j0 = blockIdx.x * ACROSS;
  const T* const middle =
      sample_at<T>(photo, s, z, min(i0 + DOWN / 2, s.rows - 1), min(j0 + ACROSS / 2, s.columns - 1));
  const float origin[3] = {shown(middle[0]), shown(middle[photo.channel]), shown(middle[2 * photo.channel])};
  for (int k = thread; k < TILE; k += threads) {
    const int i = i0 + k / TILE_ACROSS - WINDOW, j = j0 + k % TILE_ACROSS - WINDOW;
    float4 v = make_float4(0.f, 0.f, 0.f, 0.f);
    float w = 0.f;
    if (i >= 0 && i < s.rows && j >= 0 && j < s.columns) {
      const T* const pixel = sample_at<T>(photo, s, z, i, j);
      v = make_float4(shown(pixel[0]) - origin[0], shown(pixel[photo.channel]) - origin[1],
                      shown(pixel[2 * photo.channel]) - origin[2], sampled(mask, s, z, i, j));
      const float around = surroundings(mask, s, z, i, j, tuning.around, v.w);
      w = mix(tuning.unsure, 1.f, fmaxf((2.f * v.w - 1.f) * (2.f * around - 1.f), 0.f));
    }
    tile[k] = v;
    trust[k] = w;
  }
  __syncthreads();
  for (int k = thread; k < TILE_DOWN * ACROSS; k += threads) {
    const int row = k / ACROSS, column = k % ACROSS;
    float sum[PLANES] = {};
    for (int d = 0; d <= 2 * WINDOW; ++d) {  // what does not exist weighs nothing
      const float4 v = tile[row * TILE_ACROSS + column + d];
      const float w = trust[row * TILE_ACROSS + column + d];
      const float r = w * v.x, g = w * v.y, b = w * v.z, m = w * v.w;
      const float plane[PLANES] = {w,       r,       g,       b,       m,       r * v.x, r * v.y, r * v.z,
                                   g * v.y, g * v.z, b * v.z, m * v.x, m * v.y, m * v.z, m * v.w};
#pragma unroll
      for (int p = 0; p < PLANES; ++p)
        sum[p] += plane[p];
    }
#pragma unroll
    for (int p = 0; p < PLANES; ++p)
      sums[(row * PLANES + p) * ACROSS + column] = sum[p];
  }
  __syncthreads();
  const int i = i0 + threadIdx.y, j = j0 + threadIdx.x;
  if (i >= s.rows || j >= s.columns) return;
  float mean[PLANES];
#pragma unroll
  for (int p = 0; p < PLANES; ++p) {
    float sum = 0.f;
    for (int d = 0; d <= 2 * WINDOW; ++d)
      sum += sums[((threadIdx.y + d) * PLANES + p) * ACROSS + threadIdx.x];
    mean[p] = p == 0 ? 1.f / sum : sum * mean[0];
  }
  const float r = mean[1], g = mean[2], b = mean[3], m = mean[4], varies = fmaxf(mean[14] - m * m, 0.f);
  // Covariance + epsilon, factored as L D L^T, and its solution for the covariance with the mask.
  const float rr = mean[5] - r * r + tuning.epsilon, rg = mean[6] - r * g, rb = mean[7] - r * b;
  const float gg = mean[8] - g * g + tuning.epsilon, gb = mean[9] - g * b, bb = mean[10] - b * b + tuning.epsilon;
  const float mr = mean[11] - r * m, mg = mean[12] - g * m, mb = mean[13] - b * m;
  const float l10 = rg / rr, l20 = rb / rr, d1 = gg - l10 * rg, t = gb - l20 * rg, l21 = t / d1,
              d2 = bb - l20 * rb - l21 * t;
  const float y1 = mg - l10 * mr, y2 = mb - l20 * mr - l21 * y1;
  float a[3];
  a[2] = y2 / d2;
  a[1] = y1 / d1 - l21 * a[2];
  a[0] = mr / rr - l10 * a[1] - l20 * a[2];
  const float tells = fminf(fmaxf(a[0] * mr + a[1] * mg + a[2] * mb, 0.f), varies);
  const float weight = 1.f / (varies - tells + tuning.doubt);
  const float gain = varies < tuning.flat ? 0.f : varies / fmaxf(tells, tuning.explained * varies);
#pragma unroll
  for (int c = 0; c < 3; ++c)
    a[c] *= gain;
  const float rest = m - a[0] * (r + origin[0]) - a[1] * (g + origin[1]) - a[2] * (b + origin[2]);
  const int64_t at = (static_cast<int64_t>(z) * s.rows + i) * s.columns + j;
  out[at] = make_float4(weight * a[0], weight * a[1], weight * a[2], weight * rest);
  weights[at] = weight;
}

__device__ __forceinline__ float4 plus(const float4& a, const float4& b) {
  return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}
__device__ __forceinline__ float4 times(const float4& a, float b) {
  return make_float4(a.x * b, a.y * b, a.z * b, a.w * b);
}
__device__ __forceinline__ float4 warp_sum(float4 v) {  // over all lanes, to each
  for (int step = WARP / 2; step > 0; step /= 2) {
    v = plus(v, make_float4(__shfl_xor_sync(ALL, v.x, step), __shfl_xor_sync(ALL, v.y, step),
                            __shfl_xor_sync(ALL, v.z, step), __shfl_xor_sync(ALL, v.w, step)));
  }
  return v;
}

extern "C" __global__ void __launch_bounds__(ACROSS* DOWN)
    smooth(const float4* in, const float* weights, const AlphaSource mask, const Sampling s, const Tuning tuning,
           float4* out) {
  constexpr int TILE_ACROSS = ACROSS + 2 * MEAN, TILE_DOWN = DOWN + 2 * MEAN;
  __shared__ float4 tile[TILE_DOWN][TILE_ACROSS], sums[TILE_DOWN][ACROSS];
  __shared__ float weight[TILE_DOWN][TILE_ACROSS], weight_sums[TILE_DOWN][ACROSS];
  const int thread = threadIdx.y * ACROSS + threadIdx.x, threads = ACROSS * DOWN;
  const int i0 = blockIdx.y * DOWN, j0 = blockIdx.x * ACROSS;
  const int64_t picture = static_cast<int64_t>(blockIdx.z) * s.rows * s.columns;
  for (int k = thread; k < TILE_DOWN * TILE_ACROSS; k += threads) {
    const int row = k / TILE_ACROSS, column = k % TILE_ACROSS, i = i0 + row - MEAN, j = j0 + column - MEAN;
    const bool inside = i >= 0 && i < s.rows && j >= 0 && j < s.columns;
    const int64_t at = picture + static_cast<int64_t>(i) * s.columns + j;
    tile[row][column] = inside ? __ldg(in + at) : make_float4(0.f, 0.f, 0.f, 0.f);
    weight[row][column] = inside ? __ldg(weights + at) : 0.f;
  }
  __syncthreads();
  for (int k = thread; k < TILE_DOWN * ACROSS; k += threads) {
    const int row = k / ACROSS, column = k % ACROSS;
    float4 sum = make_float4(0.f, 0.f, 0.f, 0.f);
    float w = 0.f;
    for (int d = 0; d <= 2 * MEAN; ++d) {
      sum = plus(sum, tile[row][column + d]);
      w += weight[row][column + d];
    }
    sums[row][column] = sum;
    weight_sums[row][column] = w;
  }
  __syncthreads();
  const int i = i0 + threadIdx.y, j = j0 + threadIdx.x;
  if (i >= s.rows || j >= s.columns) return;
  float4 c = make_float4(0.f, 0.f, 0.f, 0.f);
  float w = 0.f;
  for (int d = 0; d <= 2 * MEAN; ++d) {
    c = plus(c, sums[threadIdx.y + d][threadIdx.x]);
    w += weight_sums[threadIdx.y + d][threadIdx.x];
  }
  c = times(c, 1.f / w);
  c.w -= tuning.stretch;
  c = times(c, 1.f / (1.f - 2.f * tuning.stretch));
  const float around = surroundings(mask, s, blockIdx.z, i, j, tuning.around, sampled(mask, s, blockIdx.z, i, j));
  const float sure = __saturatef((around - tuning.certain) * tuning.certainty);
  c = mix(c, make_float4(0.f, 0.f, 0.f, 1.f), sure);
  if (c.x == 0.f && c.y == 0.f && c.z == 0.f) c.w = __saturatef(c.w);  // solid in every window that reaches the sample
  out[picture + static_cast<int64_t>(i) * s.columns + j] = c;
}

// A grid of cells over `samples` samples along an axis, at a level: ceil(samples / CELL / 2^level).
__device__ __forceinline__ int cells_along(int samples, int level) {
  const int side = CELL << level;
  return (samples + side - 1) / side;
}

template <class T>
__device__ __forceinline__ void cells(const Photo& photo, const AlphaSource& cover, const Sampling& s,
                                      const Tuning& tuning, float4* finest, float4* second, float4* third,
                                      float4* totals) {
  __shared__ float4 weighed[2][BLOCK][BLOCK], plain[BLOCK * BLOCK], mean[2][CELL][CELL], half[2][2][2];
  const int z = blockIdx.z, pictures = gridDim.z, thread = threadIdx.y * BLOCK + threadIdx.x;
  const int i = blockIdx.y * BLOCK + threadIdx.y, j = blockIdx.x * BLOCK + threadIdx.x;
  float4 light_here = make_float4(0.f, 0.f, 0.f, 0.f), fore = light_here, back = light_here;
  if (i < s.rows && j < s.columns) {
    const T* const pixel = sample_at<T>(photo, s, z, i, j);
    float rgb[3], opacity = 1.f, alpha;
    if (cover.kind == COVER_GUIDED) {
#pragma unroll
      for (int c = 0; c < 3; ++c)
        rgb[c] = shown(pixel[c * photo.channel]);
      alpha =
          __saturatef(affine(__ldg(cover.coefficients + (static_cast<int64_t>(z) * s.rows + i) * s.columns + j), rgb));
    } else {
      alpha = sampled(cover, s, z, i, j);
    }
    if (photo.opacity >= 0) opacity = shown(pixel[photo.opacity * photo.channel]);
#pragma unroll
    for (int c = 0; c < 3; ++c)
      rgb[c] = light(pixel[c * photo.channel], photo.linear);
    const float w = opacity * fmaf(tuning.trace, square(square(alpha)), fmaxf(1.f - (1.f - alpha) * tuning.solid, 0.f));
    const float v = opacity * fmaxf(1.f - alpha * tuning.steep, 0.f);
    light_here = make_float4(rgb[0], rgb[1], rgb[2], 1.f);
    fore = times(light_here, w);
    back = times(light_here, v);
  }
  weighed[0][threadIdx.y][threadIdx.x] = fore;
  weighed[1][threadIdx.y][threadIdx.x] = back;
  plain[thread] = light_here;
  __syncthreads();
  if (thread < 2 * CELL * CELL) {  // means over the samples that exist
    const int field = thread / (CELL * CELL), y = thread / CELL % CELL, x = thread % CELL;
    const int row = blockIdx.y * CELL + y, column = blockIdx.x * CELL + x;
    const int height = cells_along(s.rows, 0), width = cells_along(s.columns, 0);
    float4 sum = make_float4(0.f, 0.f, 0.f, 0.f);
    for (int k = 0; k < CELL * CELL; ++k)
      sum = plus(sum, weighed[field][y * CELL + k / CELL][x * CELL + k % CELL]);
    if (row < height && column < width) {
      sum = times(sum, 1.f / static_cast<float>(min(CELL, s.rows - row * CELL) * min(CELL, s.columns - column * CELL)));
      finest[((static_cast<int64_t>(field) * pictures + z) * height + row) * width + column] = sum;
    }
    mean[field][y][x] = sum;
  } else if (thread >= 2 * WARP && thread < 3 * WARP) {  // light of the whole block, and how many samples it has
    float4 sum = make_float4(0.f, 0.f, 0.f, 0.f);
    for (int k = thread - 2 * WARP; k < BLOCK * BLOCK; k += WARP)
      sum = plus(sum, plain[k]);
    sum = warp_sum(sum);
    if (thread == 2 * WARP) totals[(z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x] = sum;
  }
  __syncthreads();
  if (thread < 8) {  // 2 x 2 cells: those that do not exist are 0
    const int field = thread / 4, y = thread / 2 % 2, x = thread % 2;
    const int row = blockIdx.y * 2 + y, column = blockIdx.x * 2 + x;
    const int height = cells_along(s.rows, 1), width = cells_along(s.columns, 1);
    float4 sum = plus(plus(mean[field][2 * y][2 * x], mean[field][2 * y][2 * x + 1]),
                      plus(mean[field][2 * y + 1][2 * x], mean[field][2 * y + 1][2 * x + 1]));
    if (row < height && column < width) {
      sum = times(sum, 1.f / static_cast<float>(min(2, cells_along(s.rows, 0) - 2 * row) *
                                                min(2, cells_along(s.columns, 0) - 2 * column)));
      second[((static_cast<int64_t>(field) * pictures + z) * height + row) * width + column] = sum;
    }
    half[field][y][x] = sum;
  }
  __syncthreads();
  if (thread < 2) {
    const float4 sum = plus(plus(half[thread][0][0], half[thread][0][1]), plus(half[thread][1][0], half[thread][1][1]));
    const int count = min(2, cells_along(s.rows, 1) - 2 * static_cast<int>(blockIdx.y)) *
                      min(2, cells_along(s.columns, 1) - 2 * static_cast<int>(blockIdx.x));
    third[((static_cast<int64_t>(thread) * pictures + z) * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x] =
        times(sum, 1.f / static_cast<float>(count));
  }
}

// A cell's colour from its own sums and the colour of the coarser level: what weight it lacks is lent.
__device__ __forceinline__ float4 filled(const float4& sum, const float4& coarse, float below) {
  return times(plus(sum, times(coarse, fmaxf(below - sum.w, 0.f))), 1.f / fmaxf(sum.w, below));
}
// The coarser level at cell (y, x) of a finer one; grid(i, j) is its cell.
template <class Grid>
__device__ __forceinline__ float4 coarser(const Grid& grid, int y, int x, int height, int width) {
  const Between row = between(0.5f * y - 0.25f, height), column = between(0.5f * x - 0.25f, width);
  return mix(mix(grid(row.low, column.low), grid(row.low, column.high), column.t),
             mix(grid(row.high, column.low), grid(row.high, column.high), column.t), row.t);
}

// (2 pictures, height, width) sums in, colours out; totals (pictures, height, width): light and number of samples.
extern "C" __global__ void __launch_bounds__(1024, 1)
    pyramid(const float4* in, const float4* totals, float4* out, int height, int width, const Tuning tuning) {
  DYNAMIC_SHARED(float4, shared);
  float4* level = shared;
  const int n = height * width, pictures = gridDim.z / 2, z = blockIdx.z;
  int h = height, w = width;
  for (int k = threadIdx.x; k < n; k += blockDim.x)
    level[k] = __ldg(in + static_cast<int64_t>(z) * n + k);
  __syncthreads();
  int depth = 0;
  for (; h > 1 || w > 1; ++depth) {  // push
    const int rows = (h + 1) / 2, columns = (w + 1) / 2;
    for (int k = threadIdx.x; k < rows * columns; k += blockDim.x) {
      const int y = k / columns * 2, x = k % columns * 2, high = min(2, h - y), wide = min(2, w - x);
      float4 sum = make_float4(0.f, 0.f, 0.f, 0.f);
      for (int i = 0; i < high; ++i)
        for (int j = 0; j < wide; ++j)
          sum = plus(sum, level[(y + i) * w + x + j]);
      level[h * w + k] = times(sum, 1.f / static_cast<float>(high * wide));
    }
    __syncthreads();
    level += h * w;
    h = rows;
    w = columns;
  }
  if (threadIdx.x < WARP) {  // the top: one cell; where nothing has weight, the mean light
    float4 top = level[0];
    if (top.w > 0.f) {
      top = times(top, 1.f / top.w);
    } else {
      top = make_float4(0.f, 0.f, 0.f, 0.f);
      for (int k = threadIdx.x; k < n; k += WARP)
        top = plus(top, __ldg(totals + static_cast<int64_t>(z % pictures) * n + k));
      top = warp_sum(top);
      top = times(top, 1.f / top.w);
    }
    __syncwarp();
    if (threadIdx.x == 0) level[0] = top;
  }
  __syncthreads();
  while (depth-- > 0) {  // pull
    const int rows = (height + (1 << depth) - 1) >> depth, columns = (width + (1 << depth) - 1) >> depth;
    const float4* const above = level;
    level -= rows * columns;
    for (int k = threadIdx.x; k < rows * columns; k += blockDim.x) {
      const auto grid = [&](int i, int j) { return above[i * w + j]; };
      level[k] = filled(level[k], coarser(grid, k / columns, k % columns, h, w), tuning.below);
    }
    __syncthreads();
    h = rows;
    w = columns;
  }
  for (int k = threadIdx.x; k < n; k += blockDim.x)
    out[static_cast<int64_t>(z) * n + k] = level[k];
}

// The two finest levels, tile by tile: sums of both and the colours of the third in, colours of the finest out.
extern "C" __global__ void __launch_bounds__(256) pull(const float4* finest, const float4* second, const float4* third,
                                                       float4* out, const Sampling s, const Tuning tuning) {
  constexpr int SIDE = BLOCK / 2 + 2;
  __shared__ float4 middle[SIDE][SIDE];  // of the second level, from one cell before the tile to one behind it
  const int z = blockIdx.z, thread = threadIdx.y * BLOCK + threadIdx.x;
  const int height = cells_along(s.rows, 1), width = cells_along(s.columns, 1);
  const int high = cells_along(s.rows, 2), wide = cells_along(s.columns, 2);
  const int top = static_cast<int>(blockIdx.y) * BLOCK / 2 - 1, left = static_cast<int>(blockIdx.x) * BLOCK / 2 - 1;
  if (thread < SIDE * SIDE) {
    const int y = min(max(top + thread / SIDE, 0), height - 1), x = min(max(left + thread % SIDE, 0), width - 1);
    const auto grid = [&](int i, int j) { return __ldg(third + (static_cast<int64_t>(z) * high + i) * wide + j); };
    middle[thread / SIDE][thread % SIDE] = filled(__ldg(second + (static_cast<int64_t>(z) * height + y) * width + x),
                                                  coarser(grid, y, x, high, wide), tuning.below);
  }
  __syncthreads();
  const int y = blockIdx.y * BLOCK + threadIdx.y, x = blockIdx.x * BLOCK + threadIdx.x;
  const int rows = cells_along(s.rows, 0), columns = cells_along(s.columns, 0);
  if (y >= rows || x >= columns) return;
  const int64_t at = (static_cast<int64_t>(z) * rows + y) * columns + x;
  const auto grid = [&](int i, int j) { return middle[i - top][j - left]; };
  out[at] = filled(__ldg(finest + at), coarser(grid, y, x, height, width), tuning.below);
}

#define ENTRY(T, NAME)                                                                                                 \
  extern "C" __global__ void __launch_bounds__(ACROSS* DOWN) fit_##NAME(                                               \
      const Photo photo, const AlphaSource mask, const Sampling s, const Tuning tuning, float4* out, float* weights) { \
    fit<T>(photo, mask, s, tuning, out, weights);                                                                      \
  }                                                                                                                    \
  extern "C" __global__ void __launch_bounds__(BLOCK* BLOCK)                                                           \
      cells_##NAME(const Photo photo, const AlphaSource cover, const Sampling s, const Tuning tuning, float4* finest,  \
                   float4* second, float4* third, float4* totals) {                                                    \
    cells<T>(photo, cover, s, tuning, finest, second, third, totals);                                                  \
  }
ENTRY(uint8_t, uint8)
ENTRY(uint16_t, uint16)
ENTRY(__half, float16)
ENTRY(float, float32)
