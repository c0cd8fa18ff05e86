// composite: the finished picture, (3) to (6): alpha F + (1 - alpha) B, encoded; the photo's own values where alpha is 1.
// Also cutout: F and alpha as a picture of one channel more, and alpha: the matte alone.
//
//   in    photo (pictures, H, W, C) or (pictures, C, H, W); cover; fields; blurred frame, or one colour instead of it
//   out   a picture of the photo's size and type; its own alpha channel is copied
//   launch  blocks of (32, warps): a warp does 256 pixels of a row; grid (columns, rows, pictures); shared memory as in cuda.py
//   bytes per pixel  the photo and a full-size mask read once, the picture written once, 4 PLANES / factor^2 read from L2
//
// A row that is all foreground is copied; one that is all background never decodes, nor loads, the photo.
#include "cover.cuh"

// Colours of subject and background around every place (docs/maths.md, colour fields), linear or as displayed.
struct Fields {
  const float4* fore;  // (pictures, rows, columns)
  const float4* back;
  float across, left, down, top;  // column = across * x + left, row = down * y + top
  float below;  // (3): blurred weight under which the background field fills in; no weight is below it without a matte
  int rows, columns;
};

// The blurred frame and (6)'s way up from it; without cells (null) B is `colour`. Pixel x lies in part (x + offset) %
// factor of the cells from (x + offset) / factor - 2 on.
struct Upsampling {
  const void* cells;  // (pictures, rows + 2 border, columns + 2 border)
  const float4* up;   // (factor,) weights of four cells, for each part
  float4 colour;
  int factor, offset;
  unsigned reciprocal;  // 2^32 / factor, rounded up
  int rows, columns, border;
};

constexpr int WIDE = 256;              // pixels of a warp's row; a lane does every 32nd: neighbours read neighbours
constexpr int STRETCH = WIDE / 2 + 6;  // cells that they are interpolated from, at most
constexpr int PARTS = 16;              // factor, at most

// (5): the subject's own colour, by blur fusion (Forte and Pitie 2021, eq. 4): F = F' + alpha (I - alpha F' - (1 - alpha)
// B'), as a sum over I, F' and B'. One field after the other: both at once take too many registers.
template <int COLOURS>
__device__ __forceinline__ void foreground(const Fields& fields, int z, int y, int x, float alpha, float* rgb) {
#pragma unroll
  for (int c = 0; c < COLOURS; ++c)
    rgb[c] *= alpha;
#pragma unroll 1
  for (int behind = 0; behind < 2; ++behind) {
    const float4 colour = grid_at(fields, behind ? fields.back : fields.fore, z, y, x);
    const float share = behind ? alpha * alpha - alpha : 1.f - alpha * alpha, v[3] = {colour.x, colour.y, colour.z};
#pragma unroll
    for (int c = 0; c < COLOURS; ++c)
      rgb[c] = fmaf(share, v[c], rgb[c]);
  }
#pragma unroll
  for (int c = 0; c < COLOURS; ++c)
    rgb[c] = __saturatef(rgb[c]);
}

// B at a pixel from the sums over the blurred cells: (3)'s division, with the background field where weight is missing.
template <int COLOURS>
__device__ __forceinline__ void divide(const Fields& fields, int z, int y, int x, Cell<COLOURS + 1>& cell) {
  float weight = cell.v[COLOURS];
  if (weight < fields.below) {
    const float4 back = grid_at(fields, fields.back, z, y, x);
    const float b[3] = {back.x, back.y, back.z}, lent = fields.below - fmaxf(weight, 0.f);
#pragma unroll
    for (int c = 0; c < COLOURS; ++c)
      cell.v[c] = fmaf(lent, b[c], cell.v[c]);
    weight = fields.below;
  }
  const float share = __fdividef(1.f, fmaxf(weight, 1e-12f));
#pragma unroll
  for (int c = 0; c < COLOURS; ++c)
    cell.v[c] *= share;
}

template <class T, int COLOURS, bool CUT>
__device__ __forceinline__ void composite(const Photo& photo, const Cover& cover, const Fields& fields,
                                          const Upsampling& frame, const Ink& ink, T* out) {
  constexpr int PLANES = COLOURS + 1;
  const int lane = threadIdx.x, warp = threadIdx.y, warps = blockDim.y, z = blockIdx.z;
  const int channels = COLOURS + (photo.opacity >= 0 ? 1 : 0), channels_out = CUT ? COLOURS + 1 : channels;
  const int samples = cover.kind == COVER_GUIDED ? line_samples(cover, WIDE) : 0;
  const int staged = segment_bytes(WIDE, sizeof(T), channels),
            staged_out = segment_bytes(WIDE, sizeof(T), channels_out);
  const bool upsample = !CUT && frame.cells != nullptr && frame.factor > 1;

  // Shared memory: the weights of the parts; then for each warp samples, a row of cells, alpha, pixels in and out.
  DYNAMIC_SHARED(float4, up);
  float4* const line = up + PARTS + warp * samples;
  Cell<PLANES>* const stretches = reinterpret_cast<Cell<PLANES>*>(up + PARTS + warps * samples);
  Cell<PLANES>* const stretch = stretches + warp * STRETCH;
  float* const alphas = reinterpret_cast<float*>(stretches + warps * STRETCH);
  float* const alpha = alphas + warp * WIDE;
  uint8_t* const buffer = reinterpret_cast<uint8_t*>(alphas + warps * WIDE) + warp * (staged + staged_out);
  if (upsample) {
    if (warp == 0 && lane < frame.factor) up[lane] = __ldg(frame.up + lane);
    __syncthreads();
  }

  const int x0 = blockIdx.x * WIDE, y = blockIdx.y * warps + warp, n = min(WIDE, photo.width - x0);
  if (y >= photo.height) return;
  const int64_t at = static_cast<int64_t>(y) * photo.width + x0;
  const T* const from = static_cast<const T*>(photo.pixels) + z * photo.picture + at * photo.pixel;
  const Segment<T> pixels = segment_at(buffer, from, photo.channel, photo.pixel, WIDE);
  T* const to = out + z * ink.picture + at * ink.pixel;
  const Segment<T> result = segment_at(buffer + staged, to, ink.channel, ink.pixel, WIDE);

  // What the row needs: the photo, unless all is background; the blur, unless all is foreground.
  const CoverRow matte = cover_row(cover, z, y, x0, n, line);
  bool photographed = matte.guide || matte.value > 0.f, blended = matte.flat && matte.value < 1.f;
  if (!matte.guide && !matte.flat) {
#pragma unroll 1
    for (int k = lane; k < n; k += WARP) {
      const float a = alpha_at(cover, matte, z, y, x0 + k, nullptr);
      alpha[k] = a;
      photographed = photographed || a > 0.f;
      blended = blended || a < 1.f;
    }
  }
  photographed = CUT || __any_sync(ALL, photographed);
  if (photographed || channels > COLOURS) {
    const T* const lowest = static_cast<const T*>(photo.pixels);
    load_segment(pixels, from, photo.channel, channels, n, lowest, lowest + gridDim.z * photo.picture);
    __syncwarp();
  }
  if (matte.guide) {
#pragma unroll 1
    for (int k = lane; k < n; k += WARP) {
      float rgb[3];
#pragma unroll
      for (int c = 0; c < 3; ++c)
        rgb[c] = shown(pixels.at(COLOURS == 3 ? c : 0, k));
      const float a = alpha_at(cover, matte, z, y, x0 + k, rgb);
      alpha[k] = a;
      blended = blended || a < 1.f;
    }
  }

  // Interpolate along y: one row of cells from four.
  const int wide = frame.columns + 2 * frame.border;
  const auto cells = [&](int row) {  // the row of cells, from which the border's exist on every side
    const int64_t above = static_cast<int64_t>(z) * (frame.rows + 2 * frame.border) + frame.border + row;
    return static_cast<const Cell<PLANES>*>(frame.cells) + above * wide + frame.border;
  };
  const int left = __umulhi(x0 + frame.offset, frame.reciprocal), phase = x0 + frame.offset - left * frame.factor;
  const unsigned reciprocal = (frame.reciprocal >> 16) + 1;  // i * reciprocal >> 16 is i / factor for i < 4096
  if (upsample && __any_sync(ALL, blended)) {
    const int row = __umulhi(y + frame.offset, frame.reciprocal);
    const float4 w = up[y + frame.offset - row * frame.factor];
    const Cell<PLANES>* const four = cells(row - 2) + left - 2;
    const int count = static_cast<int>(((phase + n - 1) * reciprocal) >> 16) + 4;
#pragma unroll 1
    for (int c = lane; c < count; c += WARP) {
      Cell<PLANES> sum = {};
      add(sum, w.x, load_cell(four + c));
      add(sum, w.y, load_cell(four + wide + c));
      add(sum, w.z, load_cell(four + 2 * wide + c));
      add(sum, w.w, load_cell(four + 3 * wide + c));
      store_cell(stretch + c, sum);
    }
  }
  __syncwarp();

  const auto behind = [&](int k) {  // B at pixel k
    Cell<PLANES> b = {};
    if (upsample) {
      const int cell = ((phase + k) * reciprocal) >> 16;
      const float4 w = up[phase + k - cell * frame.factor];
      add(b, w.x, fetch_cell(stretch + cell));
      add(b, w.y, fetch_cell(stretch + cell + 1));
      add(b, w.z, fetch_cell(stretch + cell + 2));
      add(b, w.w, fetch_cell(stretch + cell + 3));
      divide<COLOURS>(fields, z, y, x0 + k, b);
    } else if (!CUT && frame.cells != nullptr) {
      b = load_cell(cells(y) + x0 + k);
      divide<COLOURS>(fields, z, y, x0 + k, b);
    } else {
      b.v[0] = frame.colour.x;
      if (COLOURS == 3) b.v[1] = frame.colour.y, b.v[2] = frame.colour.z;
    }
    return b;
  };
  T* to_k = result.first + lane * result.pixel;
  if (!photographed) {
#pragma unroll 1
    for (int k = lane; k < n; k += WARP, to_k += WARP * result.pixel) {
      const Cell<PLANES> b = behind(k);
#pragma unroll
      for (int c = 0; c < COLOURS; ++c)
        put(to_k + c * result.channel, ink.encode ? encode(b.v[c]) : __saturatef(b.v[c]));
    }
  } else {
    const T* from_k = pixels.first + lane * pixels.pixel;
#pragma unroll 1
    for (int k = lane; k < n; k += WARP, from_k += WARP * pixels.pixel, to_k += WARP * result.pixel) {
      const float a = matte.flat ? matte.value : alpha[k];
      if (a >= 1.f) {
#pragma unroll
        for (int c = 0; c < COLOURS; ++c)
          to_k[c * result.channel] = from_k[c * pixels.channel];
      } else {
        Cell<PLANES> b = behind(k);
        if (CUT || a > 0.f) {
          float rgb[3];
#pragma unroll
          for (int c = 0; c < COLOURS; ++c)
            rgb[c] = light(from_k[c * pixels.channel], photo.linear);
          foreground<COLOURS>(fields, z, y, x0 + k, a, rgb);
#pragma unroll
          for (int c = 0; c < COLOURS; ++c)
            b.v[c] = CUT ? rgb[c] : mix(b.v[c], rgb[c], a);
        }
#pragma unroll
        for (int c = 0; c < COLOURS; ++c)
          put(to_k + c * result.channel, ink.encode ? encode(b.v[c]) : __saturatef(b.v[c]));
      }
      if (CUT) {
        put(to_k + COLOURS * result.channel, channels > COLOURS ? a * shown(from_k[COLOURS * pixels.channel]) : a);
      }
    }
  }
  if (!CUT && channels > COLOURS) {
    for (int k = lane; k < n; k += WARP)
      result.at(COLOURS, k) = pixels.at(COLOURS, k);
  }
  __syncwarp();
  store_segment(result, to, ink.channel, channels_out, n);
}

#define ENTRY(T, NAME, COLOURS)                                                                                   \
  extern "C" __global__ void __launch_bounds__(256, 3) composite_##NAME##_##COLOURS(                              \
      const Photo photo, const Cover cover, const Fields fields, const Upsampling frame, const Ink ink, T* out) { \
    composite<T, COLOURS, false>(photo, cover, fields, frame, ink, out);                                          \
  }
FOR_EVERY_PICTURE(ENTRY)
#undef ENTRY

// cutout: F and alpha times the photo's own, straight; grey photos are read three times over (channel 0 apart).
// alpha: the matte at every pixel, (pictures, H, W) float.
template <class T>
__device__ __forceinline__ void alpha(const Photo& photo, const Cover& cover, float* out, int opacity) {
  const int x = blockIdx.x * WARP + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y, z = blockIdx.z;
  if (x >= photo.width || y >= photo.height) return;
  const int64_t at = static_cast<int64_t>(y) * photo.width + x,
                index = static_cast<int64_t>(z) * photo.height * photo.width + at;
  const T* const pixel = static_cast<const T*>(photo.pixels) + z * photo.picture + at * photo.pixel;
  float a;
  if (cover.kind == COVER_MASK) {
    a = mask_value(cover, index);
  } else {
    const float rgb[3] = {shown(pixel[0]), shown(pixel[photo.channel]), shown(pixel[2 * photo.channel])};
    a = __saturatef(affine(grid_at(cover, cover.coefficients, z, y, x), rgb));
  }
  out[index] = opacity ? a * shown(pixel[photo.opacity * photo.channel]) : a;
}

#define ENTRY(T, NAME)                                                                                            \
  extern "C" __global__ void __launch_bounds__(256, 2) cutout_##NAME(                                             \
      const Photo photo, const Cover cover, const Fields fields, const Upsampling frame, const Ink ink, T* out) { \
    composite<T, 3, true>(photo, cover, fields, frame, ink, out);                                                 \
  }                                                                                                               \
  extern "C" __global__ void __launch_bounds__(256)                                                               \
      alpha_##NAME(const Photo photo, const Cover cover, float* out, int opacity) {                               \
    alpha<T>(photo, cover, out, opacity);                                                                         \
  }
ENTRY(uint8_t, uint8)
ENTRY(uint16_t, uint16)
ENTRY(__half, float16)
ENTRY(float, float32)
