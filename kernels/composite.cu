// composite: the finished picture, (3) to (6): alpha F + (1 - alpha) B, encoded; the photo's own values where alpha is 1.
// Also cutout: F and alpha as a picture of one channel more, and alpha: the matte alone.
//
//   in    photo (pictures, H, W, C) or (pictures, C, H, W); cover; fields; blurred frame, or one colour instead of it
//   out   a picture of the photo's size and type; its own alpha channel is copied
//   launch  blocks of (32, warps): a warp does 128 pixels of a row; grid (columns, rows, pictures); shared memory as in cuda.py
//   bytes per pixel  the photo and a full-size mask read once, the picture written once, 4 PLANES / factor^2 read from L2
//
// A row that is all foreground is copied; one that is all background never decodes, nor loads, the photo.
#include "cover.cuh"

// Colours of subject and background around every place (docs/maths.md, colour fields), linear or as displayed.
struct Fields {
  const float4* fore;  // (pictures, rows, columns)
  const float4* back;
  float across, left, down, top;  // column = across * x + left, row = down * y + top
  float below;                    // (3): blurred weight under which the background field fills in; 0 without a matte
  int rows, columns;
};

// The blurred frame and (6)'s way up from it; without cells (null) B is `colour`.
struct Upsampling {
  const void* cells;    // (pictures, rows + 2 border, columns + 2 border)
  const float4* up;     // (factor,) weights of the 4 cells around a pixel of the cell
  const int* shift;     // (factor,) the first of them
  float4 colour;
  int factor, rows, columns, border;
};

constexpr int WIDE = 128;               // pixels of a warp's row; a lane does every 32nd: neighbours read neighbours
constexpr int STRETCH = WIDE / 2 + 6;   // cells that they are interpolated from, at most

// One of the fields at pixel (z, y, x).
__device__ __forceinline__ float4 colour_at(const Fields& fields, const float4* field, int z, int y, int x) {
  return mix(field + static_cast<int64_t>(z) * fields.rows * fields.columns, fields.columns,
             between(fmaf(fields.down, y, fields.top), fields.rows),
             between(fmaf(fields.across, x, fields.left), fields.columns));
}

// (5): the subject's own colour, by blur fusion (Forte and Pitie 2021, eq. 4): F = F' + alpha (I - alpha F' - (1 - alpha)
// B'), as a sum over I, F' and B'. One field after the other: both at once take too many registers.
template <int COLOURS>
__device__ __forceinline__ void foreground(const Fields& fields, int z, int y, int x, float alpha, float* rgb) {
#pragma unroll
  for (int c = 0; c < COLOURS; ++c) rgb[c] *= alpha;
#pragma unroll 1
  for (int behind = 0; behind < 2; ++behind) {
    const float4 colour = colour_at(fields, behind ? fields.back : fields.fore, z, y, x);
    const float share = behind ? alpha * alpha - alpha : 1.f - alpha * alpha, v[3] = {colour.x, colour.y, colour.z};
#pragma unroll
    for (int c = 0; c < COLOURS; ++c) rgb[c] = fmaf(share, v[c], rgb[c]);
  }
#pragma unroll
  for (int c = 0; c < COLOURS; ++c) rgb[c] = __saturatef(rgb[c]);
}

// B at a pixel from the sums over the blurred cells: (3)'s division, with the background field where weight is missing.
template <int COLOURS>
__device__ __forceinline__ void divide(const Fields& fields, int z, int y, int x, Cell<COLOURS + 1>& cell) {
  float weight = cell.v[COLOURS];
  if (weight < fields.below) {
    const float4 back = colour_at(fields, fields.back, z, y, x);
    const float b[3] = {back.x, back.y, back.z}, lent = fields.below - fmaxf(weight, 0.f);
#pragma unroll
    for (int c = 0; c < COLOURS; ++c) cell.v[c] = fmaf(lent, b[c], cell.v[c]);
    weight = fields.below;
  }
  const float share = __fdividef(1.f, fmaxf(weight, 1e-12f));
#pragma unroll
  for (int c = 0; c < COLOURS; ++c) cell.v[c] *= share;
}

template <class T, int COLOURS, bool CUT>
__device__ __forceinline__ void composite(const Photo& photo, const Cover& cover, const Fields& fields, const Upsampling& frame,
                                          const Ink& ink, T* out) {
  constexpr int PLANES = COLOURS + 1;
  const int lane = threadIdx.x, warp = threadIdx.y, warps = blockDim.y, z = blockIdx.z;
  const int channels = COLOURS + (photo.opacity >= 0 ? 1 : 0), channels_out = CUT ? COLOURS + 1 : channels;
  const int samples = cover.kind == COVER_GUIDED ? line_samples(cover, WIDE) : 0;
  const int staged = segment_bytes(WIDE, sizeof(T), channels), staged_out = segment_bytes(WIDE, sizeof(T), channels_out);
  const Cell<PLANES>* const cells = static_cast<const Cell<PLANES>*>(frame.cells);
  const bool upsample = !CUT && cells != nullptr && frame.factor > 1;

  // Shared memory, for each warp: samples, a row of cells, alpha, pixels in and out.
  DYNAMIC_SHARED(float4, shared);
  Cell<PLANES>* const stretches = reinterpret_cast<Cell<PLANES>*>(shared + warps * samples);
  float* const alphas = reinterpret_cast<float*>(stretches + warps * STRETCH);
  uint8_t* const buffer = reinterpret_cast<uint8_t*>(alphas + warps * WIDE) + warp * (staged + staged_out);
  float4* const line = shared + warp * samples;
  Cell<PLANES>* const stretch = stretches + warp * STRETCH;
  float* const alpha = alphas + warp * WIDE;

  const int x0 = blockIdx.x * WIDE, n = min(WIDE, photo.width - x0);
  const int column = x0 / frame.factor, phase = x0 - column * frame.factor;  // of the row's first pixel
  const unsigned reciprocal = 65536u / frame.factor + 1;                     // i * reciprocal >> 16 is i / factor for i < 4096
  const int wide = frame.columns + 2 * frame.border;
  // The blurred cell (row, 0), of which those up to the border's exist on every side.
  const auto blurred = [&](int row) {
    return cells + (static_cast<int64_t>(z) * (frame.rows + 2 * frame.border) + frame.border + row) * wide + frame.border;
  };
  const int y = blockIdx.y * warps + warp;
  if (y >= photo.height) return;
  const int64_t at = static_cast<int64_t>(y) * photo.width + x0;
  const T* const from = static_cast<const T*>(photo.pixels) + z * photo.picture + at * photo.pixel;
  T* const to = out + z * ink.picture + at * ink.pixel;
  const Segment<T> pixels = segment_at(buffer, from, photo.channel, photo.pixel, WIDE);
  const Segment<T> result = segment_at(buffer + staged, to, ink.channel, ink.pixel, WIDE);

  // What the row needs: the photo, unless all is background; the blur, unless all is foreground.
  const CoverRow matte = cover_row(cover, z, y, x0, n, line);
  bool photographed = matte.guide || channels > COLOURS;
  if (!matte.guide) {
#pragma unroll 1
    for (int k = lane; k < n; k += WARP) {
      alpha[k] = alpha_at(cover, matte, z, y, x0 + k, nullptr);
      photographed = photographed || alpha[k] > 0.f;
    }
  }
  if (__any_sync(ALL, photographed)) {
    const T* const lowest = static_cast<const T*>(photo.pixels);
    load_segment(pixels, from, photo.channel, channels, n, lowest, lowest + gridDim.z * photo.picture);
    __syncwarp();
  }
  bool blended = false;
#pragma unroll 1
  for (int k = lane; k < n; k += WARP) {
    if (matte.guide) {
      float rgb[3];
#pragma unroll
      for (int c = 0; c < 3; ++c) rgb[c] = shown(pixels.at(COLOURS == 3 ? c : 0, k));
      alpha[k] = alpha_at(cover, matte, z, y, x0 + k, rgb);
    }
    blended = blended || alpha[k] < 1.f;
  }
  if (__any_sync(ALL, blended) && upsample) {  // interpolate along y: one row of cells from four
    const int row = y / frame.factor;
    const float4 w = __ldg(frame.up + y - row * frame.factor);
    const Cell<PLANES>* const first = blurred(row + __ldg(frame.shift + y - row * frame.factor)) + column - 2;
    const int count = (((phase + n - 1) * reciprocal) >> 16) + 5;
#pragma unroll 1
    for (int c = lane; c < count; c += WARP) {
      Cell<PLANES> sum = {};
      add(sum, w.x, load_cell(first + c));
      add(sum, w.y, load_cell(first + wide + c));
      add(sum, w.z, load_cell(first + 2 * wide + c));
      add(sum, w.w, load_cell(first + 3 * wide + c));
      store_cell(stretch + c, sum);
    }
  }
  __syncwarp();

#pragma unroll 1
  for (int k = lane; k < n; k += WARP) {
    const int x = x0 + k;
    const float a = alpha[k];
    if (a >= 1.f) {
#pragma unroll
      for (int c = 0; c < COLOURS; ++c) result.at(c, k) = pixels.at(c, k);
    } else {
      Cell<PLANES> b = {};
      if (upsample) {
        const int cell = ((phase + k) * reciprocal) >> 16, part = phase + k - cell * frame.factor;
        const float4 w = __ldg(frame.up + part);
        const Cell<PLANES>* const four = stretch + cell + __ldg(frame.shift + part) + 2;
        add(b, w.x, fetch_cell(four));
        add(b, w.y, fetch_cell(four + 1));
        add(b, w.z, fetch_cell(four + 2));
        add(b, w.w, fetch_cell(four + 3));
        divide<COLOURS>(fields, z, y, x, b);
      } else if (!CUT && cells != nullptr) {
        b = load_cell(blurred(y) + x);
        divide<COLOURS>(fields, z, y, x, b);
      } else {
        b.v[0] = frame.colour.x;
        if (COLOURS == 3) b.v[1] = frame.colour.y, b.v[2] = frame.colour.z;
      }
      if (CUT || a > 0.f) {
        float rgb[3];
#pragma unroll
        for (int c = 0; c < COLOURS; ++c) rgb[c] = light(pixels.at(c, k), photo.linear);
        foreground<COLOURS>(fields, z, y, x, a, rgb);
#pragma unroll
        for (int c = 0; c < COLOURS; ++c) b.v[c] = CUT ? rgb[c] : mix(b.v[c], rgb[c], a);
      }
#pragma unroll
      for (int c = 0; c < COLOURS; ++c) put(&result.at(c, k), ink.encode ? encode(b.v[c]) : __saturatef(b.v[c]));
    }
    if (CUT) {
      put(&result.at(COLOURS, k), channels > COLOURS ? a * shown(pixels.at(COLOURS, k)) : a);
    } else if (channels > COLOURS) {
      result.at(COLOURS, k) = pixels.at(COLOURS, k);
    }
  }
  __syncwarp();
  store_segment(result, to, ink.channel, channels_out, n);
}

#define ENTRY(T, NAME, COLOURS)                                                                                          \
  extern "C" __global__ void __launch_bounds__(256, 4) composite_##NAME##_##COLOURS(                                     \
      const Photo photo, const Cover cover, const Fields fields, const Upsampling frame, const Ink ink, T* out) {     \
    composite<T, COLOURS, false>(photo, cover, fields, frame, ink, out);                                                 \
  }
FOR_EVERY_PICTURE(ENTRY)
#undef ENTRY

// cutout: F and alpha times the photo's own, straight; grey photos are read three times over (channel 0 apart).
// alpha: the matte at every pixel, (pictures, H, W) float.
template <class T>
__device__ __forceinline__ void alpha(const Photo& photo, const Cover& cover, float* out, int opacity) {
  const int x = blockIdx.x * WARP + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y, z = blockIdx.z;
  if (x >= photo.width || y >= photo.height) return;
  const int64_t at = static_cast<int64_t>(y) * photo.width + x, index = static_cast<int64_t>(z) * photo.height * photo.width + at;
  const T* const pixel = static_cast<const T*>(photo.pixels) + z * photo.picture + at * photo.pixel;
  float a;
  if (cover.kind == COVER_MASK) {
    a = mask_value(cover, index);
  } else {
    const float rgb[3] = {shown(pixel[0]), shown(pixel[photo.channel]), shown(pixel[2 * photo.channel])};
    a = guided(mix(cover.coefficients + static_cast<int64_t>(z) * cover.rows * cover.columns, cover.columns,
                   between(fmaf(cover.down, y, cover.top), cover.rows),
                   between(fmaf(cover.across, x, cover.left), cover.columns)), rgb);
  }
  out[index] = opacity ? a * shown(pixel[photo.opacity * photo.channel]) : a;
}

#define ENTRY(T, NAME)                                                                                                   \
  extern "C" __global__ void __launch_bounds__(256, 2) cutout_##NAME(                                                    \
      const Photo photo, const Cover cover, const Fields fields, const Upsampling frame, const Ink ink, T* out) {     \
    composite<T, 3, true>(photo, cover, fields, frame, ink, out);                                                        \
  }                                                                                                                      \
  extern "C" __global__ void __launch_bounds__(256) alpha_##NAME(                                             \
      const Photo photo, const Cover cover, float* out, int opacity) {                                                   \
    alpha<T>(photo, cover, out, opacity);                                                                                \
  }
ENTRY(uint8_t, uint8)
ENTRY(uint16_t, uint16)
ENTRY(__half, float16)
ENTRY(float, float32)
