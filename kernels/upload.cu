// upload: words that travel as an argument, to device memory: no copy from the host, which a CUDA graph could not hold on
// to and which would wait for the stream.
//
//   launch  one block of 512 threads; at most WORDS words
#include "pixel.cuh"

constexpr int WORDS = 512;

struct Words {
  uint32_t word[WORDS];
};

extern "C" __global__ void __launch_bounds__(WORDS) upload(const Words words, uint32_t* out, int n) {
  if (static_cast<int>(threadIdx.x) < n) out[threadIdx.x] = words.word[threadIdx.x];
}
