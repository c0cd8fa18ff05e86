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
#include "cover.cuh"

// Colours of subject and background around every place (docs/maths.md, colour fields), linear or as displayed.
struct ColorFields {
  const float4* fore;  // (pictures, rows, columns)
  const float4* back;
  float across, left, down, top;  // column = across * x + left, row = down * y + top
  float below;  // (3): blurred weight under which the background field fills in; no weight is below it without a matte
  int rows, columns;
};

// Where a pixel lies among the cells of one axis: in part (x + offset) % factor of the cells from (x + offset) / factor - 2
// on.
struct Parts {
  int factor, offset;
  unsigned reciprocal;  // 2^32 / factor, rounded up; not there where cells are pixels
  __device__ __forceinline__ int first(int x) const {
    return (factor == 1 ? x : static_cast<int>(__umulhi(x + offset, reciprocal))) - 2;
  }
  __device__ __forceinline__ int part(int x, int first) const { return x + offset - (first + 2) * factor; }
};

// The blurred frame and (6)'s way up from it; without cells (null) B is `colour`.
struct Upsampling {
  float4 colour;
  const void* cells;     // (pictures, rows + 2 border, columns + 2 border)
  const float4* up;      // (down.factor,) weights of four cells, for each part
  const float4* across;  // (beside.factor, CELLS) weights in four neighbouring pixels, for the first one's part
  Parts down, beside;    // along a column of pixels, along a row
  int rows, columns, border;
};

constexpr int PARTS = 16;               // factor, at most
constexpr int TAPS = 4;                 // cells that a pixel is interpolated from, along an axis
constexpr int CELLS = 6;                // that four neighbouring pixels are interpolated from, at most
constexpr float FAINT = 3.9215686e-3f;  // the least opacity of its own that a pixel's missing weight is measured by
constexpr float SLACK = 1e-3f;          // of light, in which (5)'s bounds are not strict

// The fields along a row of a strip, and where a pixel lies among their columns.
struct ColorLines {
  Line fore;
  int apart;  // from the subject's colours to those of the background
  Between column;
  __device__ __forceinline__ float4 at(int behind) const {
    const float4* const line = fore.samples - fore.first + behind * apart;
    return mix(line[column.low], line[column.high], column.t);
  }
};

// (5): the subject's own colour, by blur fusion (Forte and Pitie 2021, eq. 4): F = F' + alpha (I - alpha F' - (1 - alpha)
// B'), as a sum over I, F' and B'. It is held within what a background between black and white leaves of I.
template <int COLOURS>
__device__ __forceinline__ void foreground(const ColorLines& lines, float alpha, float* rgb) {
  const float many = reciprocal(fmaxf(alpha, 1e-20f)), ours = 1.f - alpha * alpha, theirs = alpha * alpha - alpha;
  const float4 fore = lines.at(0), back = lines.at(1);
  const float f[3] = {fore.x, fore.y, fore.z}, b[3] = {back.x, back.y, back.z};
#pragma unroll
  for (int c = 0; c < COLOURS; ++c) {
    const float most = (rgb[c] + SLACK) * many, colour = fmaf(theirs, b[c], fmaf(ours, f[c], rgb[c] * alpha));
    rgb[c] = __saturatef(fminf(fmaxf(colour, most + (1.f - (1.f + 2 * SLACK) * many)), most));
  }
}

// B at a pixel from the sums over the blurred cells: (3)'s division, with the background field where weight is missing,
// which is measured by the pixel's own opacity.
template <int COLOURS>
__device__ __forceinline__ void divide(const ColorLines& lines, float below, float opacity, Cell<COLOURS + 1>& cell) {
  float weight = cell.v[COLOURS];
  if (below > 0.f) below *= fmaxf(opacity, FAINT);
  if (weight < below) {
    const float4 back = lines.at(1);
    const float b[3] = {back.x, back.y, back.z}, lent = below - fmaxf(weight, 0.f);
#pragma unroll
    for (int c = 0; c < COLOURS; ++c)
      cell.v[c] = fmaf(lent, b[c], cell.v[c]);
    weight = below;
  }
  const float share = reciprocal(fmaxf(weight, 1e-12f));
#pragma unroll
  for (int c = 0; c < COLOURS; ++c)
    cell.v[c] *= share;
}

// ---- (6): the blurred frame at a lane's pixels, from the four rows of cells that a row of pixels lies among.

// Rows of cells, interpolated along x: row c is kept in place c % TAPS, so that the next one moves nothing.
template <int PLANES>
struct Blurred {
  using Sum = Cell<PLANES>;
  Sum ring[TAPS][QUAD];
  int next;  // row of cells that is not kept yet

  // Interpolate a row from the lane's first cell on, of which the frame has `last` more behind it.
  __device__ __forceinline__ static void take(Sum (&row)[QUAD], const Sum* from, const float4* share, int last,
                                              int factor) {
    if (factor == 1) {
#pragma unroll
      for (int i = 0; i < QUAD; ++i)
        row[i] = load_cell(from + min(i, last));
    } else {
      const auto spread = [&](int j) {
        const Sum cell = load_cell(from + (j < TAPS ? j : min(j, last)));
        const float4 w = share[j];
        add(row[0], w.x, cell);
        add(row[1], w.y, cell);
        add(row[2], w.z, cell);
        add(row[3], w.w, cell);
      };
#pragma unroll
      for (int i = 0; i < QUAD; ++i)
        row[i] = Sum{};
#pragma unroll
      for (int j = 0; j < CELLS - 1; ++j)
        spread(j);
      if (factor == 2) spread(CELLS - 1);
    }
  }

  // Keep the four rows of cells before row `end`, of which the latest may be kept already, at the pixels from x on.
  __device__ __forceinline__ void keep(const Upsampling& frame, const float4* across, int z, int x, int end) {
    if (next < end) {
      const int factor = frame.beside.factor, left = factor == 1 ? x : frame.beside.first(x);
      const int wide = frame.columns + 2 * frame.border, last = frame.columns + frame.border - 1 - left;
      const float4* const share = across + (factor == 1 ? 0 : frame.beside.part(x, left)) * CELLS;
#pragma unroll 1
      for (next = max(next, end - TAPS); next < end; ++next) {
        const int64_t row = static_cast<int64_t>(z) * (frame.rows + 2 * frame.border) + frame.border + next;
        const Sum* const from = static_cast<const Sum*>(frame.cells) + row * wide + frame.border + left;
        const int place = next & (TAPS - 1);
        if (place == 0) {
          take(ring[0], from, share, last, factor);
        } else if (place == 1) {
          take(ring[1], from, share, last, factor);
        } else if (place == 2) {
          take(ring[2], from, share, last, factor);
        } else {
          take(ring[3], from, share, last, factor);
        }
      }
    }
  }

  // The sum over the cells at pixel i, of one plane.
  __device__ __forceinline__ float at(const float4& w, int i, int plane) const {
    return fmaf(w.w, ring[3][i].v[plane],
                fmaf(w.z, ring[2][i].v[plane], fmaf(w.y, ring[1][i].v[plane], w.x * ring[0][i].v[plane])));
  }
};

// The weights of (6)'s way up in shared memory: those down for each part and each place of the first row in the ring.
struct Weights {
  float4* up;      // (PARTS, TAPS)
  float4* across;  // (PARTS, CELLS)
};

__device__ __forceinline__ void load_weights(const Upsampling& frame, const Weights& to) {
  const int thread = threadIdx.y * WARP + threadIdx.x, threads = blockDim.y * WARP;
  for (int i = thread; frame.cells && i < frame.beside.factor * CELLS; i += threads)
    to.across[i] = __ldg(frame.across + i);
  for (int i = thread; i < frame.down.factor * TAPS; i += threads) {
    const float4 w = frame.cells ? __ldg(frame.up + i / TAPS) : make_float4(1.f, 0.f, 0.f, 0.f);
    const int first = i % TAPS;
    to.up[i] = first == 0   ? w
               : first == 1 ? make_float4(w.w, w.x, w.y, w.z)
               : first == 2 ? make_float4(w.z, w.w, w.x, w.y)
                            : make_float4(w.y, w.z, w.w, w.x);
  }
}

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
  if (PIXEL > 1 || COLOURS == 1) {
    copy_row(from, to, row.n * PIXEL);
  } else {
#pragma unroll 1
    for (int c = 0; c < row.channels(); ++c)
      copy_row(from + c * row.photo.channel, to + c * row.encoding.channel, row.n);
  }
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
