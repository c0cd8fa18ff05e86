// One fault each, for test_emulator.py: what the emulator must find.

constexpr unsigned ALL = 0xffffffffu;

__device__ __forceinline__ int thread() { return blockIdx.x * blockDim.x + threadIdx.x; }

// ---- Wrong results, in one order at least.

extern "C" __global__ void turn_without_barrier(float* values) {
  __shared__ float shared[256];
  shared[threadIdx.x] = values[thread()];
  values[thread()] = shared[blockDim.x - 1 - threadIdx.x];
}

extern "C" __global__ void turn_overwriting(float* values) {
  __shared__ float shared[256];
  float v = values[thread()];
  for (int i = 0; i < 3; ++i) {
    shared[threadIdx.x] = v;
    __syncthreads();
    v = shared[blockDim.x - 1 - threadIdx.x];  // others may write before all have read
  }
  values[thread()] = v;
}

extern "C" __global__ void turn_half_loaded(float* values) {
  __shared__ float shared[256];
  if (threadIdx.x < 128) shared[threadIdx.x] = values[thread()];
  __syncthreads();
  values[thread()] = shared[blockDim.x - 1 - threadIdx.x];
}

extern "C" __global__ void unset_array(float* values) {
  float v[8];
  if (threadIdx.x != 3) v[threadIdx.x % 8] = 1.f;
  values[thread()] = v[threadIdx.x % 8];
}

extern "C" __global__ void shuffle_from_outside(float* values) {
  float v = values[thread()];
  const unsigned half = threadIdx.x % 32 < 16 ? 0x0000ffffu : 0xffff0000u;
  values[thread()] = __shfl_xor_sync(half, v, 31);
}

// ---- Errors of the launch

extern "C" __global__ void barriers_in_branches(float*) {
  if (threadIdx.x < 7) {
    __syncthreads();  // HERE
  } else {
    __syncthreads();
  }
}

extern "C" __global__ void barrier_in_branch(float*) {
  if (threadIdx.x != 40) __syncthreads();  // HERE
}

extern "C" __global__ void barrier_after_return(float*) {
  if (threadIdx.x > 250) return;
  __syncthreads();  // HERE
}

extern "C" __global__ void barrier_beside_shuffle(float* values) {
  if (threadIdx.x == 33) {
    __syncthreads();
  } else {
    values[thread()] = __shfl_sync(ALL, 1.f, 0);  // HERE
  }
}

extern "C" __global__ void shuffle_in_branch(float* values) {
  if (threadIdx.x % 32) values[thread()] = __shfl_up_sync(ALL, 1.f, 1);  // HERE
}

extern "C" __global__ void shuffle_left_out(float* values) {
  values[thread()] = __shfl_sync(0xfffffffeu, 1.f, 1);  // HERE
}

extern "C" __global__ void shuffles_of_two_masks(float* values) {
  values[thread()] = __shfl_sync(threadIdx.x % 32 ? ALL : ALL - 2, 1.f, 0);  // HERE
}

extern "C" __global__ void different_collectives(float* values) {
  values[thread()] = threadIdx.x % 2 ? __all_sync(ALL, 1) : __any_sync(ALL, 1);  // HERE
}

extern "C" __global__ void much_shared_memory(float* values) {
  __shared__ float shared[10 << 10];
  DYNAMIC_SHARED(float, more);
  shared[threadIdx.x] = more[threadIdx.x] = 1.f;
  __syncthreads();
  values[thread()] = shared[255 - threadIdx.x] + more[255 - threadIdx.x];
}

extern "C" __global__ void no_shared_memory(float* values) {
  DYNAMIC_SHARED(float, shared);
  values[thread()] = shared[threadIdx.x];
}

extern "C" __global__ void misaligned_vector(float* values) {
  values[thread()] = __ldg(reinterpret_cast<const float4*>(values + 1) + threadIdx.x / 8).x;
}

extern "C" __global__ void shared_as_global(float* values) {
  DYNAMIC_SHARED(float, shared);
  values[thread()] = __ldg(shared + threadIdx.x);
}

extern "C" __global__ void wild_pointer(float* values) {
  if (thread() == 300) *reinterpret_cast<volatile float*>(0x30) = 1.f;
}

extern "C" __global__ void endless_recursion(float* values) {
  volatile float frame[1024] = {values[0]};
  endless_recursion(values);
  values[1] += frame[1];
}

extern "C" __global__ void division_by_zero(float* values) {
  values[thread()] = thread() / static_cast<int>(values[thread()]);
}

// ---- An error that leaves stacks behind, in use and idle, and what comes after errors: nothing is wrong with it.

extern "C" __global__ void left_stacks(float* values) {
  float kept[8] = {};
  for (int i = 0; i < 8; ++i) kept[(i + threadIdx.x) % 8] = values[thread()];
  if (threadIdx.x < 32) __syncwarp();
  if (threadIdx.x % 64 == 40) __syncthreads();
  values[thread()] = kept[threadIdx.x % 8];
}

extern "C" __global__ void turn_after_error(float* values) {
  const int mine = threadIdx.x;  // what a thread has for itself outlasts the barrier
  float copy[256];
  for (int i = 0; i < 256; ++i) copy[i] = values[blockIdx.x * 256 + i];
  __syncthreads();
  values[blockIdx.x * 256 + mine] = copy[255 - mine];
}

// ---- For the sanitizers. `values` are 512.

extern "C" __global__ void read_beyond(float* values) {
  values[thread()] = values[thread() + 1];  // HERE
}

extern "C" __global__ void beyond_static(float* values) {
  __shared__ float shared[255];
  shared[threadIdx.x] = values[thread()];  // HERE
  __syncthreads();
  values[thread()] = shared[254 - threadIdx.x % 255];
}

extern "C" __global__ void beyond_dynamic(float* values) {
  DYNAMIC_SHARED(float, shared);
  shared[threadIdx.x + 1] = values[thread()];  // HERE
}

extern "C" __global__ void misaligned_plainly(float* values) {
  const float4 v = reinterpret_cast<const float4*>(values + 1)[threadIdx.x % 32];  // HERE
  values[thread()] = v.w;
}

extern "C" __global__ void overflow(float* values) {
  const int pitch = 1 << 23;
  values[thread() * pitch % 512] = 1.f;  // HERE
}

extern "C" __global__ void unbounded_cast(float* values) {
  values[thread()] = static_cast<int>(values[thread()] * 1e10f);  // HERE
}
