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

#if !defined(GPUBLUR_EMULATED)
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

// How light is written: encoded as sRGB or not.
struct Ink {
  int64_t picture, channel;  // of the output, as in Photo
  int pixel;
  int encode;
};

// ---- Code values: display value in [0, 1] and back. Integers are rounded to nearest.

__device__ __forceinline__ float shown(uint8_t v) { return v * (1.f / 255); }
__device__ __forceinline__ float shown(uint16_t v) { return v * (1.f / 65535); }
__device__ __forceinline__ float shown(__half v) { return __half2float(v); }
__device__ __forceinline__ float shown(float v) { return v; }

__device__ __forceinline__ void put(uint8_t* to, float v) {
  *to = static_cast<uint8_t>(__float2uint_rz(fmaf(v, 255.f, 0.5f)));
}
__device__ __forceinline__ void put(uint16_t* to, float v) {
  *to = static_cast<uint16_t>(__float2uint_rz(fmaf(v, 65535.f, 0.5f)));
}
__device__ __forceinline__ void put(__half* to, float v) { *to = __float2half_rn(v); }
__device__ __forceinline__ void put(float* to, float v) { *to = v; }

// ---- (2): sRGB, IEC 61966-2-1. Powers by the fast base-2 logarithm and exponential: 2e-6 of full scale.

__device__ __forceinline__ float decode(float v) {
  v = __saturatef(v);
  const float curve = exp2f(2.4f * __log2f(fmaf(v, 1 / 1.055f, 0.055f / 1.055f)));
  return v <= 0.04045f ? v * (1 / 12.92f) : curve;
}

__device__ __forceinline__ float encode(float v) {
  v = __saturatef(v);
  const float curve = fmaf(1.055f, exp2f((1 / 2.4f) * __log2f(v)), -0.055f);
  return v <= 0.0031308f ? v * 12.92f : curve;
}

template <class T>
__device__ __forceinline__ float light(T v, int linear) {
  return linear ? decode(shown(v)) : __saturatef(shown(v));
}

__device__ __forceinline__ float luminance(const float* rgb) {
  return fmaf(0.2126f, rgb[0], fmaf(0.7152f, rgb[1], 0.0722f * rgb[2]));
}

// ---- Rows in shared memory: a warp copies the bytes of a row in aligned 16-byte words, whatever the row's own
// alignment, because `at`, where its first byte goes, has the same place within a word; what it shares a word with is
// overwritten up to 15 bytes before and behind.

__device__ __forceinline__ int skew(const void* p) { return static_cast<int>(reinterpret_cast<uint64_t>(p) & 15); }

// Load [from, from + bytes). Words that reach outside [lowest, highest) are read byte by byte.
__device__ __forceinline__ void load_row(const uint8_t* from, int bytes, const uint8_t* lowest, const uint8_t* highest,
                                         uint8_t* at) {
  const int shift = skew(from);
#pragma unroll 1
  for (int i = 16 * static_cast<int>(threadIdx.x) - shift; i < bytes; i += 16 * WARP) {
    if (from + i >= lowest && from + i + 16 <= highest) {
      *reinterpret_cast<uint4*>(at + i) = __ldg(reinterpret_cast<const uint4*>(from + i));
    } else {
#pragma unroll 1
      for (int k = max(i, 0); k < min(i + 16, bytes); ++k)
        at[k] = __ldg(from + k);
    }
  }
}

// Store [to, to + bytes) and nothing else.
__device__ __forceinline__ void store_row(uint8_t* to, int bytes, const uint8_t* at) {
  const int lane = threadIdx.x, shift = skew(to);
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
  __device__ __forceinline__ T& at(int c, int i) const { return first[c * channel + i * pixel]; }
};

// Bytes from a plane of n pixels to the next, but for skew: whole words may overwrite 30 more than the plane has.
__device__ __forceinline__ int plane_bytes(int n, int size) { return (n * size + 45) / 16 * 16; }

// Bytes of shared memory for n pixels (twin: cuda.py).
__device__ __forceinline__ int segment_bytes(int n, int size, int channels) {
  return (plane_bytes(n, size) + 16) * channels;
}

// The segment in a buffer with room for n pixels of the array whose first channel starts at `array`.
template <class T>
__device__ __forceinline__ Segment<T> segment_at(uint8_t* buffer, const T* array, int64_t channel, int pixel, int n) {
  const int size = sizeof(T), apart = plane_bytes(n, size) + (static_cast<int>(channel) * size & 15);
  return {reinterpret_cast<T*>(buffer + skew(array)), pixel > 1 ? 1 : apart / size, pixel};
}

template <class T>
__device__ __forceinline__ void load_segment(const Segment<T>& segment, const T* array, int64_t channel, int channels,
                                             int n, const T* lowest, const T* highest) {
  const int rows = segment.pixel > 1 ? 1 : channels;
  for (int c = 0; c < rows; ++c) {
    load_row(reinterpret_cast<const uint8_t*>(array + c * channel), n * segment.pixel * static_cast<int>(sizeof(T)),
             reinterpret_cast<const uint8_t*>(lowest), reinterpret_cast<const uint8_t*>(highest),
             reinterpret_cast<uint8_t*>(segment.first + c * segment.channel));
  }
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

// One entry point for each type of code values and number of colours: KERNEL(name)(uint8_t, 3) is name_uint8_3.
// clang-format off
#define FOR_EVERY_PICTURE(KERNEL)                     \
  KERNEL(uint8_t, uint8, 1) KERNEL(uint8_t, uint8, 3)    \
  KERNEL(uint16_t, uint16, 1) KERNEL(uint16_t, uint16, 3) \
  KERNEL(__half, float16, 1) KERNEL(__half, float16, 3)  \
  KERNEL(float, float32, 1) KERNEL(float, float32, 3)
