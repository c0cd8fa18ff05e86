// CUDA C++ on the CPU, for tests: what nvcc knows without being told, so that g++ compiles the same kernel sources.
//
// Blocks run one after another on one CPU thread. A CUDA thread is a plain function call on a stack that serves one
// thread after another. Only when it has to wait, at a barrier or a warp collective, does it keep the stack, and
// another stack takes over; whoever has to wait or is done chooses who runs next. Between two waits a thread runs
// undisturbed, in an order that the launch chooses: forward, reverse or random, over blocks, warps and lanes.
//
// What a GPU leaves undefined is an error here: `fail` gives the launch up. Shared memory is filled with NaNs before
// each block, and a shuffle from outside the mask yields one. Not found are races between blocks, and races between
// threads that show only when one of them is stopped halfway.
#pragma once
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cstdint>
#include <limits>
#include <type_traits>
#include <utility>

#if !defined(__x86_64__) && !defined(EMULATOR_UCONTEXT)
#define EMULATOR_UCONTEXT  // slower: every switch asks the system for the signal mask
#endif
#if defined(EMULATOR_UCONTEXT)
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

// Standard headers use some of these names for themselves, so they come first.
#define GPUBLUR_EMULATED 1
#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __shared__ static
#define __grid_constant__
#define __launch_bounds__(...)
#define __forceinline__ inline  // the compiler's own choice: what is forced takes it three times as long
#define __noinline__ __attribute__((noinline))
#define __align__(n) __attribute__((aligned(n)))
#define DYNAMIC_SHARED(T, name) T* const name = static_cast<T*>(emulator::dynamic_shared())

#define EMULATOR_EXPORT __attribute__((visibility("default")))
#define EMULATOR_SITE emulator::Site site = emulator::Site::here()  // a parameter: where the caller stands

// ---- Vector types, aligned as nvcc aligns them.

#define EMULATOR_VECTORS(T, name)                                               \
  struct name##1 { T x; };                                                      \
  struct alignas(2 * sizeof(T)) name##2 { T x, y; };                            \
  struct name##3 { T x, y, z; };                                                \
  struct alignas(sizeof(T) < 4 ? 4 * sizeof(T) : 16) name##4 { T x, y, z, w; }; \
  inline name##1 make_##name##1(T x) { return {x}; }                            \
  inline name##2 make_##name##2(T x, T y) { return {x, y}; }                    \
  inline name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; }            \
  inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
EMULATOR_VECTORS(signed char, char)
EMULATOR_VECTORS(unsigned char, uchar)
EMULATOR_VECTORS(short, short)
EMULATOR_VECTORS(unsigned short, ushort)
EMULATOR_VECTORS(int, int)
EMULATOR_VECTORS(unsigned, uint)
EMULATOR_VECTORS(long long, longlong)
EMULATOR_VECTORS(unsigned long long, ulonglong)
EMULATOR_VECTORS(float, float)
EMULATOR_VECTORS(double, double)

static uint3 threadIdx, blockIdx, blockDim, gridDim;
constexpr int warpSize = 32;

namespace emulator {

constexpr unsigned MAX_THREADS = 1024, LANES = 32;
constexpr size_t STACK = 256 << 10, PAGE = 4096;
constexpr int POISON = 0xff;  // of every byte: floats are NaN, integers -1 or the largest

// ---- What passes between here and Python; __init__.py has the same structs.

struct Parameter {
  char kind;  // as of NumPy's dtypes, and p for pointers
  unsigned size;
};
struct Kernel {
  const char *name, *declarations;  // declarations: of the parameters
  const Parameter* parameters;
  unsigned count, bound;  // bound: threads as of __launch_bounds__, or 0
  void (*call)(void** arguments);
};
struct Range {
  char* start;
  size_t size;
};
enum Order : int { FORWARD, REVERSE, RANDOM };
struct Launch {
  uint3 grid, block;
  size_t dynamic, limit;  // bytes of shared memory: asked for, and allowed with the static ones
  Order order;
  unsigned seed;
  const Range* arrays;  // the module's __shared__ arrays
  size_t array_count;
};

// ---- State. Nothing here may be a variable of a function: those count as __shared__.

struct Site {  // in the source
  const char* file;
  int line;
  static constexpr Site here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) { return {file, line}; }
  bool operator!=(const Site& other) const {
    return line != other.line || (file != other.file && strcmp(file, other.file));
  }
  const char* name() const { return strrchr(file, '/') ? strrchr(file, '/') + 1 : file; }
};

struct Stack {
#if defined(EMULATOR_UCONTEXT)
  ucontext_t context;
#else
  void* pointer;  // the stack pointer, while another stack runs
#endif
  const void* low;
  size_t size;
  void* fake;   // ASan's
  Stack* next;  // idle one
};

constexpr int VOTE = -1;
struct Warp;
struct Thread {
  uint3 index;
  unsigned lane;
  Warp* warp;
  Stack* stack;            // while it waits; nullptr before it starts
  const char* collective;  // its last one, and where it is
  Site site;
  unsigned mask, value, result;
  int source;  // the lane whose value is the result, or VOTE
};
struct Warp {
  Thread* threads;
  unsigned lanes, ready, arrived;  // as bits: all, those that can run, those that wait at a collective
};

static const Kernel* kernel;
static const Launch* launch;
static void** arguments;
static char* dynamic;  // shared memory
static char failure[1024];
static unsigned random_state;

static uint64_t block_count, blocks_begun, block, block_step;
static unsigned thread_count, warp_count;
static Thread threads[MAX_THREADS];
static Warp warps[MAX_THREADS / LANES];

static Thread* current;
static unsigned ready;                    // as bits: the warps of which a lane can run
static unsigned done, waiting;            // threads that have returned, and that wait at the barrier
static unsigned votes, votes_at_barrier;  // so far, and when the last barrier opened
static Site barrier_site;

static Stack host, stacks[MAX_THREADS];
static Stack *running = &host, *previous, *idle;
static unsigned stack_count;
static pthread_t host_thread;

// ---- Stacks

#if !defined(EMULATOR_UCONTEXT)
extern "C" void emulator_switch(void** from, void* to);
asm(R"(
  .text
  .local emulator_switch
  .type emulator_switch, @function
emulator_switch:
  push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp
  ret
  .size emulator_switch, . - emulator_switch
)");
constexpr int SAVED_REGISTERS = 6;
#endif

inline void arrive([[maybe_unused]] void* fake) {  // ASan tells the bounds of the stack that was left
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake, &previous->low, &previous->size);
#endif
}

inline void switch_to(Stack& to) {
  Stack& from = *running;
  previous = &from;
  running = &to;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&from.fake, to.low, to.size);
#endif
#if defined(EMULATOR_UCONTEXT)
  swapcontext(&from.context, &to.context);
#else
  emulator_switch(&from.pointer, to.pointer);
#endif
  arrive(from.fake);
}

void serve();

inline void make_idle(Stack& stack) {  // ready to call `serve`, whatever it held
  char* const low = static_cast<char*>(const_cast<void*>(stack.low));
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(low, stack.size);
#endif
#if defined(EMULATOR_UCONTEXT)
  getcontext(&stack.context);
  stack.context.uc_stack.ss_sp = low;
  stack.context.uc_stack.ss_size = stack.size;
  makecontext(&stack.context, serve, 0);
#else
  const size_t colour = (&stack - stacks) * 64 % PAGE;  // or the tops of all would compete for a few lines of the cache
  void** top = reinterpret_cast<void**>(low + stack.size - PAGE + colour);
  *--top = nullptr;  // aligns the stack as a call does
  *--top = reinterpret_cast<void*>(serve);
  stack.pointer = top - SAVED_REGISTERS;
#endif
  stack.next = idle;
  idle = &stack;
}

inline Stack& take_idle() {
  if (!idle) {
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void* const memory = mmap(nullptr, STACK, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (memory == MAP_FAILED) abort();
    mprotect(memory, PAGE, PROT_NONE);  // an overflow faults
    Stack& made = stacks[stack_count++];
    made.low = static_cast<char*>(memory) + PAGE;
    made.size = STACK - PAGE;
    make_idle(made);
  }
  Stack& stack = *idle;
  idle = stack.next;
  return stack;
}

// ---- Errors

inline int write_place(char* text, size_t size) {
  const uint3 b = blockIdx, t = current->index;
  return snprintf(text, size, "block (%u, %u, %u), thread (%u, %u, %u): ", b.x, b.y, b.z, t.x, t.y, t.z);
}

[[gnu::format(printf, 1, 2), noreturn, gnu::cold]] inline void fail(const char* format, ...) {
  const int n = write_place(failure, sizeof failure);
  va_list values;
  va_start(values, format);
  vsnprintf(failure + n, sizeof failure - n, format, values);
  va_end(values);
  switch_to(host);
  __builtin_unreachable();
}

#if defined(__SANITIZE_ADDRESS__)
struct Faults {};  // are for ASan to report
#else
// As long as it lives, a fault of the launch makes it fail; those of other CPU threads go to whom they went before.
constexpr int SIGNALS[] = {SIGSEGV, SIGBUS, SIGFPE};
static struct sigaction before[3];
inline void on_fault(int signal, siginfo_t* fault, void*) {
  if (running == &host || !pthread_equal(pthread_self(), host_thread)) {
    for (int i = 0; i < 3; ++i) sigaction(SIGNALS[i], &before[i], nullptr);  // and then it happens again
  } else if (signal == SIGFPE) {
    fail("integer division by zero");
  } else {
    fail("invalid or misaligned access to memory at %p", fault->si_addr);
  }
}
struct Faults {
  Faults() {
    struct sigaction action = {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
    for (int i = 0; i < 3; ++i) sigaction(SIGNALS[i], &action, &before[i]);
  }
  ~Faults() {
    for (int i = 0; i < 3; ++i) sigaction(SIGNALS[i], &before[i], nullptr);
  }
};
#endif

// ---- The scheduler, on the stack of whoever has to wait or is done.

inline unsigned random_bits() {  // xorshift
  random_state ^= random_state << 13;
  random_state ^= random_state >> 17;
  return random_state ^= random_state << 5;
}
inline unsigned choose(unsigned bits) {  // one that is set
  if (launch->order == FORWARD) return __builtin_ctz(bits);
  if (launch->order == REVERSE) return 31 - __builtin_clz(bits);
  const unsigned turn = random_bits() >> 27;
  return (__builtin_ctz(bits >> turn | bits << (-turn & 31)) + turn) & 31;
}
inline unsigned lowest_bits(unsigned n) { return n < 32 ? (1u << n) - 1 : ~0u; }

inline void let_all_run() {
  for (unsigned w = 0; w < warp_count; ++w) warps[w].ready = warps[w].lanes;
  ready = lowest_bits(warp_count);
}

// Which arrays belong to the kernel shows after its first block: they hold more than poison.
inline void check_shared_memory() {
  size_t used = 0;
  for (size_t i = 0; i < launch->array_count; ++i) {
    const auto [start, size] = launch->arrays[i];
    if (*start != static_cast<char>(POISON) || memcmp(start, start + 1, size - 1)) used += size;
  }
  if (used + launch->dynamic > launch->limit) {
    fail("%zu bytes of static and %zu of dynamic shared memory, at most %zu are allowed", used, launch->dynamic,
         launch->limit);
  }
}

inline bool begin_block() {  // false after the last one
  if (blocks_begun == 1) check_shared_memory();
  if (blocks_begun == block_count) return false;
  if (blocks_begun++) block = (block + block_step) % block_count;
  blockIdx.x = block % gridDim.x;
  blockIdx.y = block / gridDim.x % gridDim.y;
  blockIdx.z = block / gridDim.x / gridDim.y;
  if (launch->dynamic) memset(dynamic, POISON, launch->dynamic);
  for (size_t i = 0; i < launch->array_count; ++i) memset(launch->arrays[i].start, POISON, launch->arrays[i].size);
  done = 0;
  let_all_run();
  return true;
}

inline void open_barrier() {  // when nobody can run: everybody waits here, or some wait for ever
  for (unsigned i = 0; i < thread_count; ++i) {
    current = &threads[i];
    const Warp& warp = *current->warp;
    if (warp.arrived >> current->lane & 1) {
      fail("%s at %s:%d, mask 0x%08x, waits for ever for lanes 0x%08x", current->collective, current->site.name(),
           current->site.line, current->mask, current->mask & warp.lanes & ~warp.arrived);
    }
    if (current->stack && done) {
      fail("__syncthreads at %s:%d, but %u threads of the block have returned", barrier_site.name(),
           barrier_site.line, done);
    }
  }
  votes_at_barrier = votes;
  waiting = votes = 0;
  let_all_run();
}

inline Thread* next_thread() {  // nullptr at the end of the launch
  while (!ready) {
    if (done < thread_count) {
      open_barrier();
    } else if (!begin_block()) {
      return nullptr;
    }
  }
  const unsigned w = choose(ready);
  Warp& warp = warps[w];
  const unsigned lane = choose(warp.ready);
  warp.ready &= ~(1u << lane);
  if (!warp.ready) ready &= ~(1u << w);
  return &warp.threads[lane];
}

inline void set_current(Thread& thread) {
  current = &thread;
  threadIdx = thread.index;
}

inline void wait() {
  current->stack = running;
  set_current(*next_thread());
  Stack& stack = current->stack ? *current->stack : take_idle();
  if (&stack != running) switch_to(stack);
}

void serve() {  // one thread after another, until one is next that waits on its own stack
  arrive(nullptr);
  for (;;) {
    kernel->call(arguments);
    current->stack = nullptr;
    ++done;
    Thread* const thread = next_thread();
    if (thread) set_current(*thread);
    if (thread && !thread->stack) continue;
    running->next = idle;
    idle = running;
    switch_to(thread ? *thread->stack : host);
  }
}

// ---- Barriers and warp collectives

inline unsigned barrier(bool vote, Site site) {  // the number of votes
  if (waiting && site != barrier_site) {
    fail("__syncthreads at %s:%d, but others of the block wait at %s:%d", site.name(), site.line, barrier_site.name(),
         barrier_site.line);
  }
  barrier_site = site;
  ++waiting;
  votes += vote;
  wait();
  return votes_at_barrier;
}

// Waits until all lanes of the mask are here. The result is the value of a lane, or with VOTE whose values are not 0.
inline unsigned exchange(const char* collective, unsigned mask, unsigned value, int source, Site site) {
  Thread& me = *current;
  Warp& warp = *me.warp;
  const unsigned lanes = mask & warp.lanes, mine = 1u << me.lane;
  if (!(lanes & mine)) {
    fail("%s at %s:%d, mask 0x%08x, leaves out the calling lane %u", collective, site.name(), site.line, mask, me.lane);
  }
  me.collective = collective;
  me.site = site;
  me.mask = mask;
  me.value = value;
  me.source = source;
  warp.arrived |= mine;
  if (lanes & ~warp.arrived) {
    wait();
    return me.result;
  }

  unsigned ballot = 0;
  for (unsigned left = lanes; left; left &= left - 1) {
    const Thread& other = warp.threads[__builtin_ctz(left)];
    if (other.mask != mask || other.site != site || other.collective != collective) {
      fail("%s at %s:%d, mask 0x%08x, but lane %u is in %s at %s:%d, mask 0x%08x", collective, site.name(), site.line,
           mask, other.lane, other.collective, other.site.name(), other.site.line, other.mask);
    }
    if (other.value) ballot |= 1u << other.lane;
  }
  for (unsigned left = lanes; left; left &= left - 1) {
    Thread& other = warp.threads[__builtin_ctz(left)];
    if (other.source == VOTE) {
      other.result = ballot;
    } else {
      other.result = lanes >> other.source & 1 ? warp.threads[other.source].value : ~0u;
    }
  }
  warp.arrived &= ~lanes;
  warp.ready |= lanes & ~mine;
  if (warp.ready) ready |= 1u << (&warp - warps);
  return me.result;
}

inline int lane_in(int width) { return current->lane & (width - 1); }  // of its segment of lanes

// From a lane of the segment; outside of it a lane gets its own value.
template <class T>
inline T shuffle(const char* collective, unsigned mask, T value, int from, int width, Site site) {
  static_assert(sizeof(T) == 4 && std::is_arithmetic_v<T>, "shuffles are for int, unsigned and float");
  const int lane = lane_in(width), source = current->lane - lane + (from >= 0 && from < width ? from : lane);
  unsigned bits;
  memcpy(&bits, &value, 4);
  bits = exchange(collective, mask, bits, source, site);
  memcpy(&value, &bits, 4);
  return value;
}

// ---- Memory and numbers

inline void* dynamic_shared() {
  if (!dynamic) fail("dynamic shared memory is used, but the launch asked for none");
  return dynamic;
}

template <class T>
inline T* global(T* p) {  // if one instruction for global memory can access it
  static_assert(sizeof(T) <= 16 && !(sizeof(T) & (sizeof(T) - 1)), "no instruction loads or stores this type");
  const uintptr_t address = reinterpret_cast<uintptr_t>(p);
  if (address % alignof(T)) fail("misaligned access to %zu bytes at 0x%zx", sizeof(T), address);
  if (address - reinterpret_cast<uintptr_t>(dynamic) < launch->dynamic) fail("shared memory accessed as global memory");
  return p;
}

template <class To, class From>
inline To bits_as(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}

// As CUDA converts: what does not fit saturates, NaN is 0.
template <class Int>
inline Int to_integer(float v) {
  using Limits = std::numeric_limits<Int>;
  constexpr float low = static_cast<float>(Limits::min()), beyond = 2.f * (Limits::max() / 2 + 1);
  if (!(v > low)) return v == v ? Limits::min() : 0;
  return v < beyond ? static_cast<Int>(v) : Limits::max();
}

// ---- Launches

#if defined(__SSE__)
struct Flushed {  // denormal numbers are 0, as with nvcc's -ftz=true
  const unsigned before = __builtin_ia32_stmxcsr();
  Flushed() { __builtin_ia32_ldmxcsr(before | 0x8040); }
  ~Flushed() { __builtin_ia32_ldmxcsr(before); }
};
#else
struct Flushed {};
#endif

template <class T>
constexpr Parameter parameter() {
  static_assert(std::is_trivially_copyable_v<T>, "a parameter is copied as bytes");
  const char kind = std::is_pointer_v<T>          ? 'p'
                    : std::is_same_v<T, bool>     ? 'b'
                    : std::is_floating_point_v<T> ? 'f'
                    : std::is_signed_v<T>         ? 'i'
                    : std::is_integral_v<T>       ? 'u'
                                                  : 'V';
  return {kind, sizeof(T)};
}
template <class T>
inline T argument(const void* at) {  // which may be misaligned
  alignas(T) char value[sizeof(T)];
  memcpy(value, at, sizeof value);
  return *reinterpret_cast<T*>(value);
}

template <auto function>
struct Entry;
template <class... P, void (*function)(P...)>
struct Entry<function> {
  static_assert((sizeof(P) + ... + 0) <= 4096, "CUDA has room for 4 KiB of parameters");
  static constexpr Parameter parameters[] = {parameter<P>()..., {}};
  template <size_t... i>
  static void call(void** values, std::index_sequence<i...>) {
    function(argument<P>(values[i])...);
  }
  static void call(void** values) { call(values, std::index_sequence_for<P...>()); }
  static constexpr Kernel kernel(const char* name, const char* declarations, unsigned bound) {
    return {name, declarations, parameters, sizeof...(P), bound, call};
  }
};

inline void set_threads() {
  thread_count = blockDim.x * blockDim.y * blockDim.z;
  warp_count = (thread_count + LANES - 1) / LANES;
  for (unsigned i = 0; i < thread_count; ++i) {
    Thread& thread = threads[i];
    thread.index = {i % blockDim.x, i / blockDim.x % blockDim.y, i / blockDim.x / blockDim.y};
    thread.lane = i % LANES;
    thread.warp = &warps[i / LANES];
    thread.stack = nullptr;
  }
  for (unsigned w = 0; w < warp_count; ++w) {
    warps[w] = {&threads[w * LANES], lowest_bits(thread_count - w * LANES), 0, 0};
  }
}

inline void set_blocks() {  // the first one, and a step that reaches every other
  block_count = uint64_t{gridDim.x} * gridDim.y * gridDim.z;
  blocks_begun = 0;
  block = launch->order == REVERSE ? block_count - 1 : 0;
  block_step = launch->order == REVERSE ? block_count - 1 : 1;
  if (launch->order == RANDOM) {
    const auto divisor = [](uint64_t a, uint64_t b) {
      while (b) std::swap(a %= b, b);
      return a;
    };
    block = random_bits() % block_count;
    do block_step = random_bits() % block_count + 1;
    while (divisor(block_step, block_count) != 1);
  }
}

}  // namespace emulator

// Runs a kernel; one launch at a time. Returns nullptr, or what went wrong.
extern "C" EMULATOR_EXPORT const char* emulator_launch(const emulator::Kernel* kernel, const emulator::Launch* launch,
                                                       void** arguments) {
  using namespace emulator;
  emulator::kernel = kernel;
  emulator::launch = launch;
  emulator::arguments = arguments;
  void* shared = nullptr;  // of exactly this size, for ASan
  if (launch->dynamic && posix_memalign(&shared, 16, launch->dynamic)) abort();
  dynamic = static_cast<char*>(shared);
  failure[0] = 0;
  random_state = launch->seed * 2654435761u | 1;  // xorshift stays at 0
  gridDim = launch->grid;
  blockDim = launch->block;
  set_threads();
  set_blocks();
  done = thread_count;  // of the block before the first
  ready = waiting = votes = 0;
  host_thread = pthread_self();
  {
    [[maybe_unused]] const Faults faults;
    [[maybe_unused]] const Flushed flushed;
    set_current(*next_thread());
    switch_to(take_idle());
  }
  free(shared);
  if (!failure[0]) return nullptr;
  idle = nullptr;
  for (unsigned i = 0; i < stack_count; ++i) make_idle(stacks[i]);
  return failure;
}

// Runs when a sanitizer ends the process.
extern "C" EMULATOR_EXPORT void emulator_died() {
  char place[128];
  emulator::write_place(place, sizeof place);
  fprintf(stderr, "%s: %sas reported above\n", emulator::kernel->name, place);
}

// ---- What kernels call

inline void __syncthreads(EMULATOR_SITE) { emulator::barrier(false, site); }
inline int __syncthreads_count(int vote, EMULATOR_SITE) { return emulator::barrier(vote != 0, site); }
inline int __syncthreads_or(int vote, EMULATOR_SITE) { return emulator::barrier(vote != 0, site) != 0; }
inline int __syncthreads_and(int vote, EMULATOR_SITE) { return emulator::barrier(vote == 0, site) == 0; }

inline void __syncwarp(unsigned mask = ~0u, EMULATOR_SITE) {
  emulator::exchange("__syncwarp", mask, 0, emulator::VOTE, site);
}
inline unsigned __ballot_sync(unsigned mask, int vote, EMULATOR_SITE) {
  return emulator::exchange("__ballot_sync", mask, vote, emulator::VOTE, site);
}
inline int __any_sync(unsigned mask, int vote, EMULATOR_SITE) {
  return emulator::exchange("__any_sync", mask, vote, emulator::VOTE, site) != 0;
}
inline int __all_sync(unsigned mask, int vote, EMULATOR_SITE) {
  return emulator::exchange("__all_sync", mask, !vote, emulator::VOTE, site) == 0;
}

template <class T>
inline T __shfl_sync(unsigned mask, T value, int lane, int width = 32, EMULATOR_SITE) {
  return emulator::shuffle("__shfl_sync", mask, value, lane & (width - 1), width, site);
}
template <class T>
inline T __shfl_up_sync(unsigned mask, T value, int by, int width = 32, EMULATOR_SITE) {
  return emulator::shuffle("__shfl_up_sync", mask, value, emulator::lane_in(width) - by, width, site);
}
template <class T>
inline T __shfl_down_sync(unsigned mask, T value, int by, int width = 32, EMULATOR_SITE) {
  return emulator::shuffle("__shfl_down_sync", mask, value, emulator::lane_in(width) + by, width, site);
}
template <class T>
inline T __shfl_xor_sync(unsigned mask, T value, int by, int width = 32, EMULATOR_SITE) {
  return emulator::shuffle("__shfl_xor_sync", mask, value, emulator::lane_in(width) ^ by, width, site);
}

// clang-format off
template <class T> inline T __ldg(const T* p) { return *emulator::global(p); }
template <class T> inline T __ldcs(const T* p) { return *emulator::global(p); }
template <class T> inline T __ldcg(const T* p) { return *emulator::global(p); }
template <class T> inline void __stcs(T* p, std::common_type_t<T> v) { *emulator::global(p) = v; }
template <class T> inline void __stcg(T* p, std::common_type_t<T> v) { *emulator::global(p) = v; }
template <class T> inline T atomicAdd(T* p, std::common_type_t<T> v) {
  static_assert(sizeof(T) >= 4 && std::is_arithmetic_v<T>, "there is no atomicAdd of this type");
  return std::exchange(*p, *p + v);
}

inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
inline unsigned min(int a, unsigned b) { return min(static_cast<unsigned>(a), b); }
inline unsigned max(int a, unsigned b) { return max(static_cast<unsigned>(a), b); }
inline unsigned min(unsigned a, int b) { return min(a, static_cast<unsigned>(b)); }
inline unsigned max(unsigned a, int b) { return max(a, static_cast<unsigned>(b)); }
inline long min(long a, long b) { return a < b ? a : b; }
inline long max(long a, long b) { return a > b ? a : b; }
inline long long min(long long a, long long b) { return a < b ? a : b; }
inline long long max(long long a, long long b) { return a > b ? a : b; }
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }

inline float rsqrtf(float v) { return 1.f / sqrtf(v); }
inline float __saturatef(float v) { return v > 0.f ? v < 1.f ? v : 1.f : 0.f; }
inline float __fdividef(float a, float b) { return a / b; }
inline float __frcp_rn(float v) { return 1.f / v; }
inline float __fsqrt_rn(float v) { return sqrtf(v); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __expf(float v) { return expf(v); }
inline float __logf(float v) { return logf(v); }
inline float __log2f(float v) { return log2f(v); }
inline float __powf(float a, float b) { return powf(a, b); }

inline int __float2int_rn(float v) { return emulator::to_integer<int>(rintf(v)); }
inline int __float2int_rz(float v) { return emulator::to_integer<int>(v); }
inline int __float2int_rd(float v) { return emulator::to_integer<int>(floorf(v)); }
inline int __float2int_ru(float v) { return emulator::to_integer<int>(ceilf(v)); }
inline unsigned __float2uint_rn(float v) { return emulator::to_integer<unsigned>(rintf(v)); }
inline unsigned __float2uint_rz(float v) { return emulator::to_integer<unsigned>(v); }
inline unsigned __float2uint_rd(float v) { return emulator::to_integer<unsigned>(floorf(v)); }
inline float __int2float_rn(int v) { return static_cast<float>(v); }
inline float __uint2float_rn(unsigned v) { return static_cast<float>(v); }
inline int __float_as_int(float v) { return emulator::bits_as<int>(v); }
inline unsigned __float_as_uint(float v) { return emulator::bits_as<unsigned>(v); }
inline float __int_as_float(int v) { return emulator::bits_as<float>(v); }
inline float __uint_as_float(unsigned v) { return emulator::bits_as<float>(v); }
inline int __popc(unsigned v) { return __builtin_popcount(v); }
inline int __clz(int v) { return v ? __builtin_clz(v) : 32; }
inline int __ffs(int v) { return __builtin_ffs(v); }
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned pick) {
  unsigned out = 0;
  for (int i = 0; i < 4; ++i) out |= ((uint64_t{b} << 32 | a) >> 8 * (pick >> 4 * i & 7) & 255) << 8 * i;
  return out;
}
inline unsigned __umulhi(unsigned a, unsigned b) { return uint64_t{a} * b >> 32; }

struct __half { _Float16 value; };
struct alignas(4) __half2 { __half x, y; };
inline float __half2float(__half v) { return static_cast<float>(v.value); }
inline __half __float2half_rn(float v) { return {static_cast<_Float16>(v)}; }
inline __half __float2half(float v) { return __float2half_rn(v); }
inline unsigned short __half_as_ushort(__half v) { return emulator::bits_as<unsigned short>(v); }
inline __half __ushort_as_half(unsigned short v) { return emulator::bits_as<__half>(v); }
inline __half2 __floats2half2_rn(float a, float b) { return {__float2half_rn(a), __float2half_rn(b)}; }
inline __half2 __float22half2_rn(float2 v) { return __floats2half2_rn(v.x, v.y); }
inline float2 __half22float2(__half2 v) { return {__half2float(v.x), __half2float(v.y)}; }
// clang-format on
