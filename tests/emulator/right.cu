// Kernels without a fault, for test_emulator.py.
#include <cuda_fp16.h>

constexpr unsigned ALL = 0xffffffffu;

__device__ __forceinline__ int thread() { return blockIdx.x * blockDim.x + threadIdx.x; }

template <class T>
__device__ void scale(const T* in, T* out, float factor, int n) {
  if (const int i = thread(); i < n) out[i] = static_cast<T>(fmaf(in[i], factor, 1.f));
}
#define SCALE(T, NAME)                                                      \
  extern "C" __global__ void __launch_bounds__(128, 2)                      \
      scale_##NAME(const T* __restrict__ in, T* out, float factor, int n) { \
    scale<T>(in, out, factor, n);                                           \
  }
SCALE(float, float32)
SCALE(uint8_t, uint8)

// Each block's values, the last first.
template <class T>
__device__ void turn(T* values, T* shared) {
  shared[threadIdx.x] = values[thread()];
  __syncthreads();
  values[thread()] = shared[blockDim.x - 1 - threadIdx.x];
}
template <class T>
__device__ T* static_shared() {
  __shared__ T array[256];
  return array;
}
extern "C" __global__ void turn_static(float* values) { turn(values, static_shared<float>()); }
extern "C" __global__ void turn_dynamic(float* values) {
  DYNAMIC_SHARED(float, shared);
  turn(values, shared);
}
// How much of its dynamic shared memory, and of a static array, holds NaN.
extern "C" __global__ void count_nans(int* counts, int n) {
  __shared__ float array[64];
  DYNAMIC_SHARED(float, shared);
  for (int i = threadIdx.x; i < n; i += blockDim.x) {
    if (shared[i] != shared[i]) atomicAdd(&counts[2 * blockIdx.x], 1);
    shared[i] = 0.f;
  }
  for (int i = threadIdx.x; i < 64; i += blockDim.x) {
    if (array[i] != array[i]) atomicAdd(&counts[2 * blockIdx.x + 1], 1);
    array[i] = 0.f;
  }
}

// Inclusive sums along segments of `width` lanes.
extern "C" __global__ void scan(int* values, int width) {
  int v = values[thread()];
  for (int by = 1; by < width; by *= 2) {
    const int below = __shfl_up_sync(ALL, v, by, width);
    if (static_cast<int>(threadIdx.x) % width >= by) v += below;
  }
  values[thread()] = v;
}

// (4, 32): from lane 3 of each 8; up by 2; down by 2; with the bits of 5 flipped. Halves of the warp, one by one.
extern "C" __global__ void shuffle(const float* in, float* out) {
  const int lane = threadIdx.x;
  const unsigned half = lane < 16 ? 0x0000ffffu : 0xffff0000u;
  const float v = in[lane];
  out[lane] = __shfl_sync(half, v, 3, 8);
  out[32 + lane] = __shfl_up_sync(ALL, v, 2);
  out[64 + lane] = __shfl_down_sync(ALL, v, 2);
  out[96 + lane] = __shfl_xor_sync(half, v, 5);
}

// (6, threads)
extern "C" __global__ void vote(const int* in, int* out) {
  const int v = in[threadIdx.x], n = blockDim.x;
  out[threadIdx.x] = __any_sync(ALL, v);
  out[n + threadIdx.x] = __all_sync(ALL, v);
  out[2 * n + threadIdx.x] = __popc(__ballot_sync(ALL, v));
  out[3 * n + threadIdx.x] = __syncthreads_count(v);
  out[4 * n + threadIdx.x] = __syncthreads_or(v);
  out[5 * n + threadIdx.x] = __syncthreads_and(v);
}

// The place of each thread in the order in which they run.
extern "C" __global__ void ticket(int* tickets, int* counter) {
  const int block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const int index = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  tickets[block * blockDim.x * blockDim.y * blockDim.z + index] = atomicAdd(counter, 1);
}

struct Line {
  const float* in;
  float* out;
  int n;
  uint8_t step;
  double slope;
  float offset[2];
};
extern "C" __global__ void line(const Line line, bool negative) {
  if (const int i = thread(); i < line.n) {
    const float v = static_cast<float>(line.slope) * line.in[i * line.step] + line.offset[1];
    line.out[i] = negative ? -v : v;
  }
}

extern "C" __global__ void halves(const __half* in, float* wide, const float* floats, __half* out) {
  wide[thread()] = __half2float(in[thread()]);
  out[thread()] = __float2half_rn(floats[thread()]);
}

// (n, 6) and (n, 2)
extern "C" __global__ void convert(const float* in, int* out, unsigned* out_unsigned) {
  const float v = in[threadIdx.x];
  const int to[] = {__float2int_rn(v), __float2int_rz(v), __float2int_rd(v),
                    __float2int_ru(v), __float_as_int(v), static_cast<int>(__saturatef(v) * 100.f)};
  for (int i = 0; i < 6; ++i) out[6 * threadIdx.x + i] = to[i];
  out_unsigned[2 * threadIdx.x] = __float2uint_rn(v);
  out_unsigned[2 * threadIdx.x + 1] = __float2uint_rz(v);
}

extern "C" __global__ void swap_ends(const uchar4* bytes, const float4* floats, uchar4* out_bytes, float4* out_floats) {
  const uchar4 b = __ldg(bytes + threadIdx.x);
  const float4 f = __ldcs(floats + threadIdx.x);
  out_bytes[threadIdx.x] = make_uchar4(b.w, b.y, b.z, b.x);
  __stcs(out_floats + threadIdx.x, make_float4(f.w, f.y, f.z, f.x));
}
