// Pixels: where they lie, how they are loaded and stored, and what their code values mean. Nothing else.
//
// Everything that depends on a picture, a radius or a model comes as data, in structs passed by value; the host's twins
// of these structs stand in backends/cuda.py. Equation numbers are those of docs/maths.md.
#pragma once
#include <cuda_fp16.h>
#if defined(__CUDACC_RTC__)  // NVRTC has no host headers
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef unsigned long long uint64_t;
typedef long long int64_t;
#elif !defined(GPUBLUR_EMULATED)
#include <cstdint>
#endif

#if defined(GPUBLUR_EMULATED)
inline float reciprocal(float v) { return 1.f / v; }
#else
__device__ __forceinline__ float reciprocal(float v) {  // within 1 in the last place, for 2^-126 to 2^126
  float out;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(out) : "f"(v));
  return out;
}
#define DYNAMIC_SHARED(T, name)                               \
  extern __shared__ __align__(16) unsigned char name##_raw[]; \
  T* const name = reinterpret_cast<T*>(name##_raw)
#endif

constexpr int WARP = 32;
constexpr unsigned ALL = 0xffffffffu;  // lanes

// A stack of pictures of one size, and how code values become light.
struct Photo {
  const void* pixels;
  const float* table;  // (256,) light of 8-bit code values, for whoever needs that of every pixel
  int64_t picture;     // elements from one picture to the next
  int64_t channel;     // elements from one channel to the next
  int height, width;
  int pixel;    // elements from one pixel to the next: 1 where the channels are planes
  int opacity;  // index of the picture's own alpha channel, or -1
  int linear;   // light is linear, else display values
};

// Channels of a picture whose layout is compiled in: only planes may have opacity or not.
template <int COLOURS, int PIXEL>
__device__ __forceinline__ int channels_of(const Photo& photo) {
  return PIXEL > 1 ? PIXEL : COLOURS == 1 ? 1 : COLOURS + (photo.opacity >= 0);
}

// How light is written: encoded as sRGB or not, dithered.
struct OutputEncoding {
  int64_t picture, channel;  // of the output, as in Photo
  int pixel;
  int linear;           // light is linear, else display values
  float dither;         // (8): its height in code values, 0 for none
  unsigned lattice[2];  // how far its wave goes in a row, and in a column
};

// ---- Code values: display value in [0, 1] and back. Integers are rounded to nearest.

template <class T>
constexpr float WHITE = 1.f;  // code value of display value 1
template <>
constexpr float WHITE<uint8_t> = 255.f;
template <>
constexpr float WHITE<uint16_t> = 65535.f;

__device__ __forceinline__ float shown(uint8_t v) { return v * (1 / WHITE<uint8_t>); }
__device__ __forceinline__ float shown(uint16_t v) { return v * (1 / WHITE<uint16_t>); }
__device__ __forceinline__ float shown(__half v) { return __half2float(v); }
__device__ __forceinline__ float shown(float v) { return v; }

// Bits of the code value nearest to v, and anything above them. From 2^23 to 2^24 a float has no place for fractions: beside the middle of
// these, to which dithered values just below 0 round as well, the lowest bits are the integer, with fewer instructions
// than a conversion.
__device__ __forceinline__ uint32_t coded(float v, uint8_t) { return __float_as_uint(v + 12582912.f); }
__device__ __forceinline__ uint32_t coded(float v, uint16_t) { return __float_as_uint(v + 12582912.f); }
__device__ __forceinline__ uint32_t coded(float v, __half) { return __half_as_ushort(__float2half_rn(v)); }
__device__ __forceinline__ uint32_t coded(float v, float) { return __float_as_uint(v); }

__device__ __forceinline__ uint8_t from_bits(uint32_t bits, uint8_t) { return static_cast<uint8_t>(bits); }
__device__ __forceinline__ uint16_t from_bits(uint32_t bits, uint16_t) { return static_cast<uint16_t>(bits); }
__device__ __forceinline__ __half from_bits(uint32_t bits, __half) {
  return __ushort_as_half(static_cast<unsigned short>(bits));
}
__device__ __forceinline__ float from_bits(uint32_t bits, float) { return __uint_as_float(bits); }
__device__ __forceinline__ uint32_t to_bits(uint8_t v) { return v; }
__device__ __forceinline__ uint32_t to_bits(uint16_t v) { return v; }
__device__ __forceinline__ uint32_t to_bits(__half v) { return __half_as_ushort(v); }
__device__ __forceinline__ uint32_t to_bits(float v) { return __float_as_uint(v); }

template <class T>
__device__ __forceinline__ void put(T* to, float v) {  // a display value
  *to = from_bits(coded(v * WHITE<T>, T()), T());
}

// ---- (2): sRGB, IEC 61966-2-1. Powers by the fast base-2 logarithm and exponential: 2e-6 of full scale.

__device__ __forceinline__ float decode(float v) {
  v = __saturatef(v);
  const float curve = exp2f(2.4f * __log2f(fmaf(v, 1 / 1.055f, 0.055f / 1.055f)));
  return v <= 0.04045f ? v * (1 / 12.92f) : curve;
}

// The code value of light, and what its dither adds.
template <class T>
__device__ __forceinline__ float encoded(float v, bool linear, float noise) {
  v = __saturatef(v);
  if (!linear) return fmaf(v, WHITE<T>, noise);
  const float curve = fmaf(1.055f * WHITE<T>, exp2f((1 / 2.4f) * __log2f(v)), noise - 0.055f * WHITE<T>);
  return v <= 0.0031308f ? fmaf(v, 12.92f * WHITE<T>, noise) : curve;
}

// (8): what spreads the rounding of a row's pixels.
struct Wave {
  int first;
  unsigned step;
  float height;
  __device__ __forceinline__ float at(int i) const {
    const int wave = static_cast<int>(first + i * step);
    return fmaf(fabsf(static_cast<float>(wave)), height * 0x1p-30f, -height);
  }
};
__device__ __forceinline__ Wave wave_at(const OutputEncoding& encoding, int y, int x) {
  return {static_cast<int>(y * encoding.lattice[0] + x * encoding.lattice[1]), encoding.lattice[1], encoding.dither};
}

template <class T>
__device__ __forceinline__ float light(T v, int linear) {
  return linear ? decode(shown(v)) : __saturatef(shown(v));
}

// (3): luminance, or the eighth power of the brightest channel: coloured lamps are clipped in one.
__device__ __forceinline__ float brightness(const float* rgb) {
  const float most = fmaxf(fmaxf(rgb[0], rgb[1]), rgb[2]), second = most * most, fourth = second * second;
  return fmaxf(fmaf(0.2126f, rgb[0], fmaf(0.7152f, rgb[1], 0.0722f * rgb[2])), fourth * fourth);
}

// ---- Pixels in registers: a lane has QUAD neighbours of a row, loaded as the aligned words of 32 bits that they lie in.

constexpr int QUAD = 4;
constexpr int STRIP = QUAD * WARP;  // pixels of a warp

// Where a pixel's sums stand in a row in shared memory: with gaps, so that lanes which store four each, or read every
// eighth, do not meet in one bank.
__device__ __forceinline__ int slot(int pixel) { return pixel + pixel / 8; }
constexpr int SLOTS = STRIP + STRIP / 8;

// N code values that lie one behind the other; which, is a constant once loops are unrolled.
template <class T, int N>
struct Codes {
  uint32_t word[N * sizeof(T) / 4];
  __device__ __forceinline__ uint32_t bits(int k) const {
    constexpr int size = sizeof(T), each = 4 / size;  // a word holds
    return size == 4 ? word[k]
                     : __byte_perm(word[k / each], 0, size == 2 ? (k % each ? 0x4432 : 0x4410) : 0x4440 | k % each);
  }
  __device__ __forceinline__ T at(int k) const { return from_bits(bits(k), T()); }
  __device__ __forceinline__ void set(const uint32_t (&bits)[N]) {  // anything may stand above them
    constexpr int size = sizeof(T), each = 4 / size;
#pragma unroll
    for (int k = 0; k < N; k += each) {
      word[k / each] = size == 4   ? bits[k]
                       : size == 2 ? __byte_perm(bits[k], bits[(k + 1) % N], 0x5410)
                                   : __byte_perm(__byte_perm(bits[k], bits[(k + 1) % N], 0x0040),
                                                 __byte_perm(bits[(k + 2) % N], bits[(k + 3) % N], 0x0040), 0x5410);
    }
  }
};

// Load them. The words reach 3 bytes further at most: where that may be outside the array [lowest, highest), one by one.
template <class T, int N>
__device__ __forceinline__ Codes<T, N> load_codes(const T* from, bool inside, const T* lowest, const T* highest) {
  constexpr int WORDS = N * sizeof(T) / 4;
  Codes<T, N> codes = {};
  if (inside) {
    const uint64_t address = reinterpret_cast<uint64_t>(from);
    const uint32_t* const words = reinterpret_cast<const uint32_t*>(address & ~uint64_t{3});
    const int shift = static_cast<int>(address & 3) * 8;
    uint32_t low = __ldg(words);
#pragma unroll
    for (int i = 0; i < WORDS; ++i) {
      const uint32_t high = i + 1 < WORDS || sizeof(T) < 4 ? __ldg(words + i + 1) : 0;
      codes.word[i] = static_cast<uint32_t>((static_cast<uint64_t>(high) << 32 | low) >> shift);
      low = high;
    }
  } else {
    const int64_t before = lowest - from, behind = highest - from;  // elements
    const int begin = before > 0 ? before < N ? static_cast<int>(before) : N : 0,
              end = behind < N ? behind > 0 ? static_cast<int>(behind) : 0 : N;
#pragma unroll
    for (int k = 0; k < N; ++k) {
      if (k >= begin && k < end) {
        codes.word[k * sizeof(T) / 4] |= to_bits(__ldg(from + k)) << 8 * (k * sizeof(T) % 4);
      }
    }
  }
  return codes;
}

// Whether words may be loaded for a lane's pixels `first` up to `last`, as they are numbered in an array of `all` pixels.
__device__ __forceinline__ bool inside_array(int64_t first, int64_t last, int64_t all) {
  return __all_sync(ALL, first >= QUAD && last + 2 * QUAD <= all);
}

// A lane's pixels: PIXEL channels interleaved, or planes (PIXEL 1) of COLOURS and maybe opacity.
template <class T, int COLOURS, int PIXEL>
struct Quad {
  static constexpr int PLANES = PIXEL > 1 ? 1 : COLOURS == 3 ? 4 : 1;
  Codes<T, QUAD * PIXEL> plane[PLANES];
  __device__ __forceinline__ uint32_t bits(int channel, int i) const {
    return PIXEL > 1 ? plane[0].bits(i * PIXEL + channel) : plane[channel % PLANES].bits(i);
  }
  __device__ __forceinline__ T at(int channel, int i) const { return from_bits(bits(channel, i), T()); }
  // All that is interleaved, or the colours' planes.
  static constexpr int CHANNELS = PIXEL > 1 ? PIXEL : COLOURS;
  __device__ __forceinline__ void set(const uint32_t (&codes)[CHANNELS][QUAD]) {
    if constexpr (PIXEL > 1) {
      uint32_t all[QUAD * PIXEL];
#pragma unroll
      for (int k = 0; k < QUAD * PIXEL; ++k)
        all[k] = codes[k % PIXEL][k / PIXEL];
      plane[0].set(all);
    } else {
#pragma unroll
      for (int c = 0; c < COLOURS; ++c)
        plane[c].set(codes[c]);
    }
  }
};

template <class T, int COLOURS, int PIXEL>
__device__ __forceinline__ Quad<T, COLOURS, PIXEL> load_quad(const T* from, int64_t channel, int channels, bool inside,
                                                             const T* lowest, const T* highest) {
  using Pixels = Quad<T, COLOURS, PIXEL>;
  Pixels pixels;
#pragma unroll
  for (int c = 0; c < Pixels::PLANES; ++c) {
    if (c < COLOURS || c < channels) {
      pixels.plane[c] = load_codes<T, QUAD * PIXEL>(from + c * channel, inside, lowest, highest);
    }
  }
  return pixels;
}

// ---- Rows in shared memory: a warp copies the bytes of a row in aligned 16-byte words, whatever the row's own
// alignment, because `at`, where its first byte goes, has the same place within a word; what it shares a word with is
// overwritten up to 15 bytes before and behind.

__device__ __forceinline__ int skew(const void* p) { return static_cast<int>(reinterpret_cast<uint64_t>(p) & 15); }

// Store [to, to + bytes) and nothing else.
__device__ __forceinline__ void store_row(uint8_t* to, int bytes, const uint8_t* at) {
  const int lane = threadIdx.x, shift = skew(to);
  if (((shift | bytes) & 15) == 0) {
#pragma unroll 1
    for (int i = 16 * lane; i < bytes; i += 16 * WARP)
      *reinterpret_cast<uint4*>(to + i) = *reinterpret_cast<const uint4*>(at + i);
    return;
  }
  const int head = min((16 - shift) & 15, bytes), tail = max(head, ((bytes + shift) & ~15) - shift);
#pragma unroll 1
  for (int i = head + 16 * lane; i < tail; i += 16 * WARP) {
    *reinterpret_cast<uint4*>(to + i) = *reinterpret_cast<const uint4*>(at + i);
  }
  if (lane < head) to[lane] = at[lane];
  if (tail + lane < bytes) to[tail + lane] = at[tail + lane];
}

// ---- Cells of the low-resolution frame: colours times weight, and the weight; 2 planes (grey) or 4.

template <int PLANES>
struct Cell {
  float v[PLANES];
};

__device__ __forceinline__ Cell<4> load_cell(const Cell<4>* p) {
  const float4 f = __ldg(reinterpret_cast<const float4*>(p));
  return {{f.x, f.y, f.z, f.w}};
}
__device__ __forceinline__ Cell<2> load_cell(const Cell<2>* p) {
  const float2 f = __ldg(reinterpret_cast<const float2*>(p));
  return {{f.x, f.y}};
}
// The same from shared memory, which __ldg must not see.
__device__ __forceinline__ Cell<4> fetch_cell(const Cell<4>* p) {
  const float4 f = *reinterpret_cast<const float4*>(p);
  return {{f.x, f.y, f.z, f.w}};
}
__device__ __forceinline__ Cell<2> fetch_cell(const Cell<2>* p) {
  const float2 f = *reinterpret_cast<const float2*>(p);
  return {{f.x, f.y}};
}
__device__ __forceinline__ void store_cell(Cell<4>* p, const Cell<4>& c) {
  *reinterpret_cast<float4*>(p) = make_float4(c.v[0], c.v[1], c.v[2], c.v[3]);
}
__device__ __forceinline__ void store_cell(Cell<2>* p, const Cell<2>& c) {
  *reinterpret_cast<float2*>(p) = make_float2(c.v[0], c.v[1]);
}
template <int PLANES>
__device__ __forceinline__ void add(Cell<PLANES>& to, float share, const Cell<PLANES>& c) {
#pragma unroll
  for (int p = 0; p < PLANES; ++p)
    to.v[p] = fmaf(share, c.v[p], to.v[p]);
}

// ---- Pictures in shared memory: a segment of a row, interleaved pixels as one row of bytes, planes as one row each.

template <class T>
struct Segment {
  T* first;
  int channel, pixel;  // elements from one channel, and from one pixel, to the next
  int skew;            // bytes that the first pixel lies behind an aligned word
};

// Bytes from a plane of n pixels to the next, but for skew: whole words may overwrite 30 more than the plane has.
__device__ __forceinline__ int plane_bytes(int n, int size) { return (n * size + 45) / 16 * 16; }

// Bytes of shared memory for n pixels.
__device__ __forceinline__ int segment_bytes(int n, int size, int channels) {
  return (plane_bytes(n, size) + 16) * channels;
}

// The segment in a buffer with room for n pixels of the array whose first channel starts at `array`.
template <class T>
__device__ __forceinline__ Segment<T> segment_at(uint8_t* buffer, const T* array, int64_t channel, int pixel, int n) {
  const int size = sizeof(T), apart = plane_bytes(n, size) + (static_cast<int>(channel) * size & 15);
  return {reinterpret_cast<T*>(buffer + skew(array)), pixel > 1 ? 1 : apart / size, pixel, skew(array)};
}

template <class T>
__device__ __forceinline__ void store_segment(const Segment<T>& segment, T* array, int64_t channel, int channels,
                                              int n) {
  const int rows = segment.pixel > 1 ? 1 : channels;
  for (int c = 0; c < rows; ++c) {
    store_row(reinterpret_cast<uint8_t*>(array + c * channel), n * segment.pixel * static_cast<int>(sizeof(T)),
              reinterpret_cast<const uint8_t*>(segment.first + c * segment.channel));
  }
}

// A lane's pixels, PIXEL apart, into the strip's segment, but for opacity of its own plane: words that two lanes share are
// made up by the second.
template <class T, int COLOURS, int PIXEL>
__device__ __forceinline__ void store_quad(const Segment<T>& segment, const Quad<T, COLOURS, PIXEL>& pixels) {
  constexpr int WORDS = QUAD * PIXEL * sizeof(T) / 4;
#pragma unroll
  for (int c = 0; c < (PIXEL > 1 ? 1 : COLOURS); ++c) {
    const int at = segment.skew + (c * segment.channel + static_cast<int>(threadIdx.x) * QUAD * PIXEL) * sizeof(T);
    uint8_t* const buffer = reinterpret_cast<uint8_t*>(segment.first) - segment.skew;
    uint32_t* const words = reinterpret_cast<uint32_t*>(buffer + (at & ~3));
    const int shift = 32 - (at & 3) * 8;
    uint32_t low = sizeof(T) < 4 ? __shfl_up_sync(ALL, pixels.plane[c].word[WORDS - 1], 1) : 0;
#pragma unroll
    for (int i = 0; i < WORDS; ++i) {
      const uint32_t high = pixels.plane[c].word[i];
      words[i] = static_cast<uint32_t>((static_cast<uint64_t>(high) << 32 | low) >> shift);
      low = high;
    }
    if (sizeof(T) < 4 && threadIdx.x == WARP - 1 && shift < 32) words[WORDS] = low >> shift;
  }
}

// Store a strip's row of n pixels, but for opacity of its own plane, by way of a buffer in shared memory; `aligned`: all
// of it, in 16-byte words.
template <class T, int COLOURS, int PIXEL>
__device__ __forceinline__ void store_strip(const Quad<T, COLOURS, PIXEL>& pixels, uint8_t* buffer, T* to,
                                            int64_t channel, int n, bool aligned) {
  constexpr int WORDS = QUAD * PIXEL * sizeof(T) / 4, PLANES = PIXEL > 1 ? 1 : COLOURS, WIDE = WORDS * WARP / 4;
  if (!aligned) {
    const Segment<T> segment = segment_at(buffer, to, channel, PIXEL, STRIP);
    store_quad(segment, pixels);
    __syncwarp();
    store_segment(segment, to, channel, COLOURS, n);
  } else {
    uint4* const wide = reinterpret_cast<uint4*>(buffer);
#pragma unroll
    for (int c = 0; c < PLANES; ++c) {
#pragma unroll
      for (int i = 0; i < WORDS; ++i)
        reinterpret_cast<uint32_t*>(wide + c * WIDE)[static_cast<int>(threadIdx.x) * WORDS + i] =
            pixels.plane[c].word[i];
    }
    __syncwarp();
#pragma unroll
    for (int c = 0; c < PLANES; ++c) {
#pragma unroll
      for (int i = 0; i < WIDE; i += WARP) {
        const int k = i + static_cast<int>(threadIdx.x);
        if (i + WARP <= WIDE || k < WIDE) reinterpret_cast<uint4*>(to + c * channel)[k] = wide[c * WIDE + k];
      }
    }
  }
  __syncwarp();  // before the buffer is written again
}

// Copy n elements.
template <class T>
__device__ __forceinline__ void copy_row(const T* from, T* to, int n) {
  const int bytes = n * static_cast<int>(sizeof(T)), lane = threadIdx.x;
  if (((skew(from) | skew(to) | bytes) & 15) == 0) {
#pragma unroll 1
    for (int k = lane; k < bytes / 16; k += WARP)
      reinterpret_cast<uint4*>(to)[k] = __ldg(reinterpret_cast<const uint4*>(from) + k);
  } else {
#pragma unroll 1
    for (int k = lane; k < n; k += WARP)
      to[k] = __ldg(from + k);
  }
}

// One entry point for each type of code values, number of colours, and layout: elements from one pixel to the next, 1 where
// the channels are planes. KERNEL(uint8_t, uint8, 3, 4)(name) is name_uint8_3_4, for 8-bit RGBA, interleaved.
// clang-format off
#define FOR_EVERY_LAYOUT(KERNEL, T, NAME) \
  KERNEL(T, NAME, 1, 1) KERNEL(T, NAME, 3, 1) KERNEL(T, NAME, 3, 3) KERNEL(T, NAME, 3, 4)
#define FOR_EVERY_PICTURE(KERNEL)           \
  FOR_EVERY_LAYOUT(KERNEL, uint8_t, uint8)   \
  FOR_EVERY_LAYOUT(KERNEL, uint16_t, uint16) \
  FOR_EVERY_LAYOUT(KERNEL, __half, float16)  \
  FOR_EVERY_LAYOUT(KERNEL, float, float32)
