// composite: the finished picture, (3) to (6): alpha F + (1 - alpha) B, encoded; the photo's own values where alpha is 1.
// Also cutout: F and alpha as a picture of one channel more, and alpha: the matte alone.
//
//   in    photo (pictures, H, W, C) or (pictures, C, H, W); cover; fields; blurred frame, or one colour instead of it
//   out   a picture of the photo's size and type; its own alpha channel is copied
//   launch  blocks of (32, warps): a warp does RUN rows of a strip of 128 pixels; grid (columns, rows, pictures); shared
//           memory as in cuda.py
//   bytes per pixel  the photo and a full-size mask read once, the picture written once, 4 PLANES a cell read from L2
//
// A row of a strip that is all foreground is copied; one that is all background never decodes, nor loads, the photo, and
// is packed from registers. The rest, at the subject's edge, goes pixel by pixel.
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
  unsigned reciprocal;  // 2^32 / factor, rounded up
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

constexpr int RUN = 16;                 // rows of a warp
constexpr int PARTS = 16;               // factor, at most
constexpr float FAINT = 3.9215686e-3f;  // the least opacity of its own that a pixel's missing weight is measured by
constexpr float SLACK = 1e-3f;          // of light, in which (5)'s bounds are not strict
constexpr int CELLS = 6;                // that four neighbouring pixels are interpolated from, at most

// (5): the subject's own colour, by blur fusion (Forte and Pitie 2021, eq. 4): F = F' + alpha (I - alpha F' - (1 - alpha)
// B'), as a sum over I, F' and B'. One field after the other: both at once take too many registers. It is held within what
// a background between black and white leaves of I.
template <int COLOURS>
__device__ __forceinline__ void foreground(const ColorFields& fields, int z, int y, int x, float alpha, float* rgb) {
  const float many = __fdividef(1.f, fmaxf(alpha, 1e-20f));
  float most[COLOURS];
#pragma unroll
  for (int c = 0; c < COLOURS; ++c) {
    most[c] = (rgb[c] + SLACK) * many;
    rgb[c] *= alpha;
  }
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
    rgb[c] = __saturatef(fminf(fmaxf(rgb[c], most[c] + (1.f - (1.f + 2 * SLACK) * many)), most[c]));
}

// B at a pixel from the sums over the blurred cells: (3)'s division, with the background field where weight is missing,
// which is measured by the pixel's own opacity.
template <int COLOURS>
__device__ __forceinline__ void divide(const ColorFields& fields, int z, int y, int x, float opacity,
                                       Cell<COLOURS + 1>& cell) {
  float weight = cell.v[COLOURS];
  const float below = fields.below > 0.f ? fields.below * fmaxf(opacity, FAINT) : fields.below;
  if (weight < below) {
    const float4 back = grid_at(fields, fields.back, z, y, x);
    const float b[3] = {back.x, back.y, back.z}, lent = below - fmaxf(weight, 0.f);
#pragma unroll
    for (int c = 0; c < COLOURS; ++c)
      cell.v[c] = fmaf(lent, b[c], cell.v[c]);
    weight = below;
  }
  const float share = __fdividef(1.f, fmaxf(weight, 1e-12f));
#pragma unroll
  for (int c = 0; c < COLOURS; ++c)
    cell.v[c] *= share;
}

template <class T, int COLOURS, int PIXEL, bool CUT>
__device__ __forceinline__ void composite(const Photo& photo, const AlphaSource& cover, const ColorFields& fields,
                                          const Upsampling& frame, const OutputEncoding& encoding, T* out) {
  constexpr int PLANES = COLOURS + 1;
  using Sum = Cell<PLANES>;
  using Pixels = Quad<T, COLOURS, PIXEL>;
  const int lane = threadIdx.x, warp = threadIdx.y, warps = blockDim.y, z = blockIdx.z;
  const int channels = COLOURS + (photo.opacity >= 0 ? 1 : 0), channels_out = CUT ? COLOURS + 1 : channels;
  const int samples = cover.kind == COVER_GUIDED ? line_samples(cover, STRIP) : 0;
  const bool upsample = !CUT && frame.cells != nullptr && frame.down.factor > 1;

  // Shared memory: the weights of the parts; then for each warp samples, sums of cells, alpha, pixels.
  DYNAMIC_SHARED(float4, up);
  float4* const across = up + PARTS;
  float4* const lines = across + PARTS * CELLS;
  Sum* const all_sums = reinterpret_cast<Sum*>(lines + warps * samples);
  float* const alphas = reinterpret_cast<float*>(all_sums + warps * SLOTS);
  uint8_t* const buffers = reinterpret_cast<uint8_t*>(alphas + warps * STRIP);
  float4* const line = lines + warp * samples;
  Sum* const sums = all_sums + warp * SLOTS;
  float* const alpha = alphas + warp * STRIP;
  uint8_t* const buffer = buffers + warp * segment_bytes(STRIP, sizeof(T), channels_out);
  if (upsample) {
    for (int i = warp * WARP + lane; i < frame.beside.factor * CELLS; i += warps * WARP)
      across[i] = __ldg(frame.across + i);
    for (int i = warp * WARP + lane; i < frame.down.factor; i += warps * WARP)
      up[i] = __ldg(frame.up + i);
    __syncthreads();
  }

  const int x0 = blockIdx.x * STRIP, x = x0 + lane * QUAD, n = min(STRIP, photo.width - x0);
  const int top = (blockIdx.y * warps + warp) * RUN, bottom = min(top + RUN, photo.height);
  if (top >= bottom) return;
  const Patch matte = patch(cover, z, top, bottom, x0, x0 + n);
  const bool masked = cover.kind == COVER_MASK, alike = !CUT && encoding.pixel == PIXEL;
  const auto place = [&](int y) {  // of the lane's pixels, and of their mask, in the stack
    return static_cast<int64_t>(z * photo.height + y) * photo.width + x;
  };
  const bool inside =
      inside_array(place(top), place(bottom - 1), static_cast<int64_t>(gridDim.z) * photo.height * photo.width);

  // The four rows of cells that a row of pixels is interpolated from, interpolated along x already.
  const int wide = frame.columns + 2 * frame.border;
  const auto cells = [&](int row) {  // the row of cells, from which the border's exist on every side
    const int64_t above = static_cast<int64_t>(z) * (frame.rows + 2 * frame.border) + frame.border + row;
    return static_cast<const Sum*>(frame.cells) + above * wide + frame.border;
  };
  const bool alone = frame.beside.factor == 1;  // along a row cells are pixels
  const int left = alone ? x : __umulhi(x + frame.beside.offset, frame.beside.reciprocal) - 2;
  Sum ring[4][QUAD] = {};
  int ringed = -4;  // the row of pixels' cells that they are for
  if (!CUT && frame.cells == nullptr) {
#pragma unroll
    for (int i = 0; i < QUAD; ++i) {
      ring[0][i].v[0] = frame.colour.x;
      if (COLOURS == 3) ring[0][i].v[1] = frame.colour.y, ring[0][i].v[2] = frame.colour.z;
      ring[0][i].v[COLOURS] = 1.f;
    }
  }

#pragma unroll 1
  for (int y = top; y < bottom; ++y) {
    const T* const from =
        static_cast<const T*>(photo.pixels) + z * photo.picture + (static_cast<int64_t>(y) * photo.width + x0) * PIXEL;
    const auto load = [&]() {
      const T* const lowest = static_cast<const T*>(photo.pixels);
      return load_quad<T, COLOURS, PIXEL>(from + lane * QUAD * PIXEL, photo.channel, channels, inside, lowest,
                                          lowest + gridDim.z * photo.picture);
    };

    // Alpha; does any pixel show the subject, or the background?
    MaskQuad mask = {};
    if (masked) mask = load_mask(cover, place(y), inside);
    bool subject = CUT, background = true;
    if (CUT || !__all_sync(ALL, masked ? mask.zero() : matte.flat && matte.value <= 0.f)) {
      bool some = false, lacking = false;
      if (masked || matte.flat) {
        float a[QUAD];
#pragma unroll
        for (int i = 0; i < QUAD; ++i) {
          a[i] = masked ? mask.at(cover, i) : matte.value;
          some = some || (a[i] > 0.f && i < n - lane * QUAD);
          lacking = lacking || (a[i] < 1.f && i < n - lane * QUAD);
        }
        *reinterpret_cast<float4*>(alpha + lane * QUAD) = make_float4(a[0], a[1], a[2], a[3]);
      } else {
        const Line coefficients = line_at(cover, z, y, x0, x0 + n, line);
#pragma unroll 1
        for (int k = lane; k < n; k += WARP) {
          float rgb[3];
#pragma unroll
          for (int c = 0; c < 3; ++c)
            rgb[c] = shown(from[k * PIXEL + (COLOURS == 3 ? c : 0) * photo.channel]);
          const float a = alpha_at(cover, coefficients, x0 + k, rgb);
          alpha[k] = a;
          some = some || a > 0.f;
          lacking = lacking || a < 1.f;
        }
      }
      subject = CUT || __any_sync(ALL, some);
      background = CUT || __any_sync(ALL, lacking);
    }

    const bool copied = !background && alike;
    Sum sum[QUAD] = {};  // over the cells at the lane's pixels
    if (!copied && !CUT) {
      float4 w = make_float4(1.f, 0.f, 0.f, 0.f);
      if (upsample) {
        const int row = __umulhi(y + frame.down.offset, frame.down.reciprocal);
#pragma unroll 1
        for (ringed = max(ringed, row - 4); ringed < row; ++ringed) {
#pragma unroll
          for (int i = 0; i < QUAD; ++i)
            ring[0][i] = ring[1][i], ring[1][i] = ring[2][i], ring[2][i] = ring[3][i], ring[3][i] = Sum{};
          const Sum* const cell = cells(ringed + 2);
          const int part = alone ? 0 : x + frame.beside.offset - (left + 2) * frame.beside.factor;
#pragma unroll 1
          for (int j = 0; j < (alone ? QUAD : CELLS - (frame.beside.factor > 2)); ++j) {
            const Sum c = load_cell(cell + min(left + j, frame.columns + frame.border - 1));
            const float4 share = across[part * CELLS + j];
            add(ring[3][0], share.x, c);
            add(ring[3][1], share.y, c);
            add(ring[3][2], share.z, c);
            add(ring[3][3], share.w, c);
          }
        }
        w = up[y + frame.down.offset - row * frame.down.factor];
      } else if (!CUT && frame.cells != nullptr) {
#pragma unroll
        for (int i = 0; i < QUAD; ++i)
          ring[0][i] = load_cell(cells(y) + min(x + i, photo.width - 1));
      }
#pragma unroll
      for (int i = 0; i < QUAD; ++i) {
        add(sum[i], w.x, ring[0][i]);
        add(sum[i], w.y, ring[1][i]);
        add(sum[i], w.z, ring[2][i]);
        add(sum[i], w.w, ring[3][i]);
      }
    }
    bool plain = !subject && alike;
#pragma unroll
    for (int i = 0; i < QUAD; ++i)
      plain = plain && sum[i].v[COLOURS] >= fields.below;
    T* const to = out + z * encoding.picture + (static_cast<int64_t>(y) * photo.width + x0) * encoding.pixel;
    const Segment<T> result = segment_at(buffer, to, encoding.channel, encoding.pixel, STRIP);
    if (copied) {
      store_quad(result, load(), channels);
    } else if (__all_sync(ALL, plain)) {
      Pixels pixels = {};
      if (channels > COLOURS) pixels = load();
#pragma unroll
      for (int i = 0; i < QUAD; ++i) {
        const float share = __fdividef(1.f, fmaxf(sum[i].v[COLOURS], 1e-12f));
        const float noise = sizeof(T) == 1 ? dither(encoding, y, x + i) : 0.f;
#pragma unroll
        for (int c = 0; c < COLOURS; ++c) {
          const float v = sum[i].v[c] * share;
          pixels.set(c, i, coded((encoding.encode ? encode(v) : __saturatef(v)) + noise, T()));
        }
      }
      store_quad(result, pixels, channels);
    } else {
#pragma unroll
      for (int i = 0; i < QUAD; ++i) {
        if (!CUT) store_cell(sums + slot(lane * QUAD) + i, sum[i]);
      }
      __syncwarp();
#pragma unroll 1
      for (int k = lane; k < n; k += WARP) {
        const T* const pixel = from + k * PIXEL;
        T* const to_k = result.first + k * result.pixel;
        const float share = subject ? alpha[k] : 0.f;
        if (!CUT && share >= 1.f) {
#pragma unroll
          for (int c = 0; c < COLOURS; ++c)
            to_k[c * result.channel] = pixel[c * photo.channel];
        } else {
          Sum b = {};
          if (!CUT) {
            b = fetch_cell(sums + slot(k));
            const float opacity = channels > COLOURS ? shown(pixel[COLOURS * photo.channel]) : 1.f;
            divide<COLOURS>(fields, z, y, x0 + k, opacity, b);
          }
          if (CUT || share > 0.f) {
            float rgb[3];
#pragma unroll
            for (int c = 0; c < COLOURS; ++c)
              rgb[c] = light(pixel[c * photo.channel], photo.linear);
            foreground<COLOURS>(fields, z, y, x0 + k, share, rgb);
#pragma unroll
            for (int c = 0; c < COLOURS; ++c)
              b.v[c] = CUT ? rgb[c] : mix(b.v[c], rgb[c], share);
          }
          const float noise = !CUT && sizeof(T) == 1 ? dither(encoding, y, x0 + k) : 0.f;
#pragma unroll
          for (int c = 0; c < COLOURS; ++c)
            put(to_k + c * result.channel, (encoding.encode ? encode(b.v[c]) : __saturatef(b.v[c])) + noise);
        }
        if (CUT) {
          put(to_k + COLOURS * result.channel,
              channels > COLOURS ? share * shown(pixel[COLOURS * photo.channel]) : share);
        } else if (channels > COLOURS) {
          to_k[COLOURS * result.channel] = pixel[COLOURS * photo.channel];
        }
      }
    }
    __syncwarp();
    store_segment(result, to, encoding.channel, channels_out, n);
    __syncwarp();  // before the next row overwrites the buffer
  }
}

#define ENTRY(T, NAME, COLOURS, PIXEL)                                                                             \
  extern "C" __global__ void __launch_bounds__(128, 3)                                                             \
      composite_##NAME##_##COLOURS##_##PIXEL(const Photo photo, const AlphaSource cover, const ColorFields fields, \
                                             const Upsampling frame, const OutputEncoding encoding, T* out) {      \
    composite<T, COLOURS, PIXEL, false>(photo, cover, fields, frame, encoding, out);                               \
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

#define CUTOUT(T, NAME, PIXEL)                                                                      \
  extern "C" __global__ void __launch_bounds__(128, 3)                                              \
      cutout_##NAME##_##PIXEL(const Photo photo, const AlphaSource cover, const ColorFields fields, \
                              const Upsampling frame, const OutputEncoding encoding, T* out) {      \
    composite<T, 3, PIXEL, true>(photo, cover, fields, frame, encoding, out);                       \
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
