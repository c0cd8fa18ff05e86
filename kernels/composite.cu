// composite: the finished picture, (3) to (6): alpha F + (1 - alpha) B, encoded; the photo's own values where alpha is 1.
// Also cutout: F and alpha as a picture of one channel more, and alpha: the matte alone.
//
//   in    photo (pictures, H, W, C) or (pictures, C, H, W); cover; fields; blurred frame, or one colour instead of it
//   out   a picture of the photo's size and type; its own alpha channel is copied
//   launch  blocks of (32, warps): a warp does `rows` rows of a strip of 128 pixels, and has `own` bytes of the
//           shared memory; grid (columns, rows, pictures)
//   bytes per pixel  the photo and a full-size mask read once, the picture written once, 4 PLANES a cell read from L2
//
// A row of a strip is of one of three classes: all subject is `copied`; all `background` never decodes, nor loads, the
// photo, and is packed from registers; what is `mixed`, at the subject's edge, goes pixel by pixel.
#include "fields.cuh"
#include "upsampling.cuh"

// ---- The classes of a strip's row.

// A row of a warp's strip, and where it is read and written.
template <class T, int COLOURS, int PIXEL, bool CUT>
struct Row {
  using Sum = Cell<COLOURS + 1>;
  const Photo& photo;
  const OutputEncoding& encoding;
  T* out;
  int64_t first;    // the row's first pixel, as it is numbered in the stack
  int z, y, x, n;   // of the first pixel, and how many
  bool inside;      // whole words may be loaded
  bool aligned;     // and stored without a shift
  uint8_t* shared;  // memory of the warp's own

  __device__ __forceinline__ const T* from() const {
    return static_cast<const T*>(photo.pixels) + first * PIXEL + planes(PIXEL, photo.picture);
  }
  __device__ __forceinline__ T* to() const {
    return out + first * encoding.pixel + planes(encoding.pixel, encoding.picture);
  }
  // Elements of the pictures before, but for one channel: interleaved pixels have them all between themselves.
  __device__ __forceinline__ int64_t planes(int pixel, int64_t picture) const {
    return pixel > 1 ? 0 : z * (picture - static_cast<int64_t>(photo.height) * photo.width);
  }
  __device__ __forceinline__ int channels() const { return channels_of<COLOURS, PIXEL>(photo); }

  // What stands in it: the row on its way out, sums over cells and alpha of each pixel, guided samples, colours.
  __device__ __forceinline__ uint8_t* buffer() const { return shared; }
  __device__ __forceinline__ Sum* sums() const {
    return reinterpret_cast<Sum*>(shared + segment_bytes(STRIP, sizeof(T), CUT || PIXEL == 1 ? 4 : PIXEL));
  }
  __device__ __forceinline__ float* alpha() const { return reinterpret_cast<float*>(sums() + SLOTS); }
  __device__ __forceinline__ float4* samples() const { return reinterpret_cast<float4*>(alpha() + STRIP); }
};

// Whether any of a row's pixels shows the subject, the background. `alpha` is filled where both may be.
struct Shows {
  bool subject, background;
};

template <class T, int COLOURS, int PIXEL, bool CUT>
__device__ __forceinline__ Shows look(const AlphaSource& cover, const Patch& matte,
                                      const Row<T, COLOURS, PIXEL, CUT>& row) {
  const int lane = threadIdx.x;
  Shows shows;
  if (cover.kind == COVER_MASK) {
    const MaskQuad mask = load_mask(cover, row.first + lane * QUAD, row.inside);
    const bool beyond = lane * QUAD >= row.n;
    shows = {!__all_sync(ALL, mask.zero() || beyond), !__all_sync(ALL, mask.full(cover) || beyond)};
    if (shows.subject && shows.background) {
      *reinterpret_cast<float4*>(row.alpha() + lane * QUAD) =
          make_float4(mask.at(cover, 0), mask.at(cover, 1), mask.at(cover, 2), mask.at(cover, 3));
    }
  } else if (matte.flat()) {
    shows = {matte.value > 0.f, matte.value < 1.f};
    if (shows.subject && shows.background) {
      *reinterpret_cast<float4*>(row.alpha() + lane * QUAD) =
          make_float4(matte.value, matte.value, matte.value, matte.value);
    }
  } else {
    const T* const from = row.from();
    bool some = false, lacking = false;
    const Line coefficients = line_at(cover, cover.coefficients, row.z, row.y, row.x, row.x + row.n, row.samples());
#pragma unroll 1
    for (int k = lane; k < row.n; k += WARP) {
      float rgb[3];
#pragma unroll
      for (int c = 0; c < 3; ++c)
        rgb[c] = shown(from[k * PIXEL + (COLOURS == 3 ? c : 0) * row.photo.channel]);
      const float a = alpha_at(cover, coefficients, row.x + k, rgb);
      row.alpha()[k] = a;
      some = some || a > 0.f;
      lacking = lacking || a < 1.f;
    }
    shows = {__any_sync(ALL, some) != 0, __any_sync(ALL, lacking) != 0};
  }
  return shows;
}

template <class T, int COLOURS, int PIXEL, bool CUT>
__device__ __forceinline__ void copied(const Row<T, COLOURS, PIXEL, CUT>& row) {
  const T* const from = row.from();
  T* const to = row.to();
  const int planes = PIXEL > 1 ? 1 : row.channels();
#pragma unroll 1
  for (int c = 0; c < planes; ++c)
    copy_row(from + c * row.photo.channel, to + c * row.encoding.channel, row.n * PIXEL);
}

template <bool LINEAR, class T, int COLOURS, int PIXEL, bool CUT>
__device__ __forceinline__ void background(const Row<T, COLOURS, PIXEL, CUT>& row, const Blurred<COLOURS + 1>& blurred,
                                           const float4& w, const float (&weight)[QUAD]) {
  const Wave wave = wave_at(row.encoding, row.y, row.x + static_cast<int>(threadIdx.x) * QUAD);
  Quad<T, COLOURS, PIXEL> pixels;
  uint32_t codes[pixels.CHANNELS][QUAD];
#pragma unroll
  for (int i = 0; i < QUAD; ++i) {
    const float share = reciprocal(weight[i]), noise = sizeof(T) == 1 ? wave.at(i) : 0.f;
#pragma unroll
    for (int c = 0; c < COLOURS; ++c)
      codes[c][i] = coded(encoded<T>(blurred.at(w, i, c) * share, LINEAR, noise), T());
    if (PIXEL == 4) {  // opacity
      const int k = min(static_cast<int>(threadIdx.x) * QUAD + i, row.n - 1);
      codes[pixels.CHANNELS - 1][i] = to_bits(__ldg(row.from() + k * PIXEL + COLOURS));
    }
  }
  pixels.set(codes);
  store_strip(pixels, row.buffer(), row.to(), row.encoding.channel, row.n, row.aligned);
  if (PIXEL == 1 && row.channels() > COLOURS) {
    copy_row(row.from() + COLOURS * row.photo.channel, row.to() + COLOURS * row.encoding.channel, row.n);
  }
}

// Pixel by pixel: a lane takes every 32nd. There are fields: without a matte all is background. CUT: F and alpha, without a
// blurred frame.
template <class T, int COLOURS, int PIXEL, bool CUT>
__device__ __forceinline__ void mixed(const AlphaSource& cover, const ColorFields& fields,
                                      const Row<T, COLOURS, PIXEL, CUT>& row, const Shows& shows) {
  const T* const from = row.from();
  T* const to = row.to();
  const Segment<T> result = segment_at(row.buffer(), to, row.encoding.channel, row.encoding.pixel, STRIP);
  const int channels = row.channels();
  const bool opaque = channels == COLOURS;
  float4* const samples = row.samples() + (cover.kind == COVER_GUIDED ? line_samples(cover, STRIP) : 0);
  ColorLines lines;
  lines.apart = line_samples(fields, STRIP);
  lines.fore = line_at(fields, fields.fore, row.z, row.y, row.x, row.x + row.n, samples);
  line_at(fields, fields.back, row.z, row.y, row.x, row.x + row.n,
          samples + lines.apart);  // alpha and sums are there too
#pragma unroll 1
  for (int k = threadIdx.x; k < row.n; k += WARP) {
    const T* const pixel = from + k * PIXEL;
    T* const put_at = result.first + k * result.pixel;
    const float alpha = shows.subject ? shows.background ? row.alpha()[k] : 1.f : 0.f;
    const float opacity = opaque ? 1.f : shown(pixel[COLOURS * row.photo.channel]);
    if (alpha >= 1.f) {
#pragma unroll
      for (int c = 0; c < COLOURS; ++c)
        put_at[c * result.channel] = pixel[c * row.photo.channel];
    } else {
      lines.column = between(fmaf(fields.across, row.x + k, fields.left), fields.columns);
      Cell<COLOURS + 1> b = {};
      if (!CUT) {
        b = fetch_cell(row.sums() + slot(k));
        divide<COLOURS>(lines, fields.below, opacity, b);
      }
      if (CUT || alpha > 0.f) {
        float rgb[3];
#pragma unroll
        for (int c = 0; c < COLOURS; ++c)
          rgb[c] = light(pixel[c * row.photo.channel], row.photo.linear);
        foreground<COLOURS>(lines, alpha, rgb);
#pragma unroll
        for (int c = 0; c < COLOURS; ++c)
          b.v[c] = CUT ? rgb[c] : mix(b.v[c], rgb[c], alpha);
      }
      const float noise = !CUT && sizeof(T) == 1 ? wave_at(row.encoding, row.y, row.x + k).at(0) : 0.f;
#pragma unroll
      for (int c = 0; c < COLOURS; ++c)
        put_at[c * result.channel] = from_bits(coded(encoded<T>(b.v[c], row.encoding.linear, noise), T()), T());
    }
    if (CUT) {
      put(put_at + COLOURS * result.channel, alpha * opacity);
    } else if (!opaque) {
      put_at[COLOURS * result.channel] = pixel[COLOURS * row.photo.channel];
    }
  }
  __syncwarp();
  store_segment(result, to, row.encoding.channel, CUT ? COLOURS + 1 : channels, row.n);
  __syncwarp();  // before the next row overwrites the buffer
}

template <class T, int COLOURS, int PIXEL, bool CUT>
__device__ __forceinline__ void composite(const Photo& photo, const AlphaSource& cover, const ColorFields& fields,
                                          const Upsampling& frame, const OutputEncoding& encoding, int rows, int own,
                                          T* out) {
  constexpr int PLANES = COLOURS + 1;
  using Sum = Cell<PLANES>;
  const int lane = threadIdx.x, warp = threadIdx.y, warps = blockDim.y;
  // Shared memory: the weights of the parts; then what is each warp's own.
  DYNAMIC_SHARED(float4, shared);
  const Weights weights = {shared, shared + PARTS * TAPS};
  const bool blurred = frame.cells != nullptr;
  if (!CUT) {
    load_weights(frame, weights);
    __syncthreads();
  }

  Row<T, COLOURS, PIXEL, CUT> row = {photo, encoding, out};
  row.z = blockIdx.z;
  row.y = (blockIdx.y * warps + warp) * rows;
  row.x = blockIdx.x * STRIP;
  row.n = min(STRIP, photo.width - row.x);
  const int bottom = min(row.y + rows, photo.height);
  if (row.y >= bottom) return;
  const int64_t pixels = static_cast<int64_t>(photo.height) * photo.width;
  row.first = row.z * pixels + static_cast<int64_t>(row.y) * photo.width + row.x;
  row.shared = reinterpret_cast<uint8_t*>(weights.across + PARTS * CELLS) + warp * own;
  row.inside = inside_array(row.first + lane * QUAD,
                            row.first + lane * QUAD + static_cast<int64_t>(bottom - 1 - row.y) * photo.width,
                            gridDim.z * pixels);
  const int apart = (photo.width * PIXEL | (PIXEL > 1 ? 0 : static_cast<int>(encoding.channel))) * sizeof(T);
  row.aligned = row.n == STRIP && ((skew(row.to()) | apart) & 15) == 0;
  const Patch matte = patch(cover, row.z, row.y, bottom, row.x, row.x + row.n);
  const bool alike = !CUT && encoding.pixel == PIXEL;

  Blurred<PLANES> b = {};
  b.next = -frame.border;
  if (!CUT && !blurred) {
    const float colour[3] = {frame.colour.x, frame.colour.y, frame.colour.z};
#pragma unroll
    for (int i = 0; i < QUAD; ++i) {
#pragma unroll
      for (int r = 0; r < TAPS; ++r) {
#pragma unroll
        for (int c = 0; c < COLOURS; ++c)
          b.ring[r][i].v[c] = colour[c];
        b.ring[r][i].v[COLOURS] = 1.f;
      }
    }
  }

#pragma unroll 1
  for (; row.y < bottom; ++row.y, row.first += photo.width) {
    const Shows shows = look(cover, matte, row);
    if (CUT) {
      mixed(cover, fields, row, shows);
    } else if (!shows.background && alike) {
      copied(row);
    } else {
      const int first = frame.down.first(row.y);
      if (blurred) {  // lanes beyond the photo take its last pixel's cells
        b.keep(frame, weights.across, row.z, min(row.x + lane * QUAD, photo.width - 1), first + TAPS);
      }
      const float4 w = weights.up[frame.down.part(row.y, first) * TAPS + (first & (TAPS - 1))];
      float weight[QUAD];
#pragma unroll
      for (int i = 0; i < QUAD; ++i)
        weight[i] = b.at(w, i, COLOURS);
      const float least = fminf(fminf(weight[0], weight[1]), fminf(weight[2], weight[3]));
      if (!__all_sync(ALL, !shows.subject && alike && !(least < fields.below))) {
#pragma unroll
        for (int i = 0; i < QUAD; ++i) {
          Sum sum;
#pragma unroll
          for (int c = 0; c < COLOURS; ++c)
            sum.v[c] = b.at(w, i, c);
          sum.v[COLOURS] = weight[i];
          store_cell(row.sums() + slot(lane * QUAD) + i, sum);
        }
        mixed(cover, fields, row, shows);
      } else if (encoding.linear) {
        background<true>(row, b, w, weight);
      } else {
        background<false>(row, b, w, weight);
      }
    }
  }
}

// Blocks of a multiprocessor that registers are left for: with more, ptxas spills some.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
template <class T>
constexpr int RESIDENT = 3;
#else
template <class T>
constexpr int RESIDENT = 4;
template <>
constexpr int RESIDENT<float> = 3;
#endif

#define ENTRY(T, NAME, COLOURS, PIXEL)                                                                   \
  extern "C" __global__ void __launch_bounds__(128, RESIDENT<T>) composite_##NAME##_##COLOURS##_##PIXEL( \
      const Photo photo, const AlphaSource cover, const ColorFields fields, const Upsampling frame,      \
      const OutputEncoding encoding, int rows, int own, T* out) {                                        \
    composite<T, COLOURS, PIXEL, false>(photo, cover, fields, frame, encoding, rows, own, out);          \
  }
FOR_EVERY_PICTURE(ENTRY)
#undef ENTRY

// cutout: F and alpha times the photo's own, straight; grey photos are read three times over (channel 0 apart).
// alpha: the matte at every pixel, (pictures, H, W) float.
template <class T>
__device__ __forceinline__ void alpha(const Photo& photo, const AlphaSource& cover, float* out, int opacity) {
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

#define CUTOUT(T, NAME, PIXEL)                                                                                    \
  extern "C" __global__ void __launch_bounds__(128, 3)                                                            \
      cutout_##NAME##_##PIXEL(const Photo photo, const AlphaSource cover, const ColorFields fields,               \
                              const Upsampling frame, const OutputEncoding encoding, int rows, int own, T* out) { \
    composite<T, 3, PIXEL, true>(photo, cover, fields, frame, encoding, rows, own, out);                          \
  }
#define ENTRY(T, NAME)                                                                    \
  CUTOUT(T, NAME, 1)                                                                      \
  CUTOUT(T, NAME, 3)                                                                      \
  CUTOUT(T, NAME, 4)                                                                      \
  extern "C" __global__ void __launch_bounds__(256)                                       \
      alpha_##NAME(const Photo photo, const AlphaSource cover, float* out, int opacity) { \
    alpha<T>(photo, cover, out, opacity);                                                 \
  }
ENTRY(uint8_t, uint8)
ENTRY(uint16_t, uint16)
ENTRY(__half, float16)
ENTRY(float, float32)
