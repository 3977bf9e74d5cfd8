// Runs a launch on one CPU thread: blocks one after another, the threads of a block as fibers.
//
// A fiber takes threads that have not begun, one after another, until one of them reaches a barrier; that thread keeps
// the fiber, and the next thread begins on another one. So a kernel without barriers runs on a single fiber. When no
// thread can go on, all must wait at one barrier: all are resumed, in launch order or in an order drawn from the seed.
#include "shim.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <ucontext.h>
#include <vector>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#else
static void __sanitizer_start_switch_fiber(void**, const void*, size_t) {}
static void __sanitizer_finish_switch_fiber(void*, const void**, size_t*) {}
#endif

uint3 threadIdx, blockIdx, blockDim, gridDim;

namespace fwfm_host {

unsigned char* shared;

namespace {

#ifdef __SANITIZE_ADDRESS__
constexpr size_t STACK = 256 << 10;  // red zones make frames larger
#else
constexpr size_t STACK = 64 << 10;
#endif

struct Place {
    void* words[5];  // of __builtin_setjmp, which makes no system call
    void* fake_stack;
};

struct Fiber {
    Place place;
    char* stack;  // from malloc, so that AddressSanitizer guards its ends
    ucontext_t begin;
    bool begun;
    uint3 thread;  // the one that it runs
    const char* file;
    int line;  // of the barrier where it waits
};

// Kept from launch to launch.
std::vector<Fiber*> idle;

// The running launch.
struct Running {
    const Launch* launch;
    void (*thread)(void**);
    void** values;
    unsigned long long random;
    Place scheduler;
    const void* stack;  // the scheduler's
    size_t stack_size;
    std::vector<unsigned> threads;  // of a block, in the order in which they begin
    size_t begun;                   // so many of them
    std::vector<Fiber*> waiting;    // in the order in which they reached the barrier
    Fiber* fiber;
} running;

char message[400];

// The next random number (splitmix64).
unsigned long long draw()
{
    unsigned long long z = running.random += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

template <class Item> void shuffle(std::vector<Item>& items)
{
    if (running.launch->seed != 0)
        for (size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[draw() % i]);
}

// Not instrumented, here and below: AddressSanitizer takes a jump for the end of every frame and would watch none any
// more. A function of its own, because g++ loses the way back where one function sets a place and jumps.
__attribute__((noinline, noreturn, no_sanitize("address"))) void jump(Place& place)
{
    __builtin_longjmp(place.words, 1);
}

// From the scheduler to a fiber; comes back when that leaves.
__attribute__((noinline, no_sanitize("address"))) void enter(Fiber* fiber)
{
    running.fiber = fiber;
    __sanitizer_start_switch_fiber(&running.scheduler.fake_stack, fiber->stack, STACK);
    if (__builtin_setjmp(running.scheduler.words) == 0) {
        if (fiber->begun) jump(fiber->place);
        fiber->begun = true;
        setcontext(&fiber->begin);
    }
    __sanitizer_finish_switch_fiber(running.scheduler.fake_stack, nullptr, nullptr);
}

// From a fiber to the scheduler; comes back when the fiber is entered again.
__attribute__((noinline, no_sanitize("address"))) void leave(Fiber* fiber)
{
    __sanitizer_start_switch_fiber(&fiber->place.fake_stack, running.stack, running.stack_size);
    if (__builtin_setjmp(fiber->place.words) == 0) jump(running.scheduler);
    __sanitizer_finish_switch_fiber(fiber->place.fake_stack, &running.stack, &running.stack_size);
}

void run_threads()
{
    Fiber* const self = running.fiber;
    __sanitizer_finish_switch_fiber(nullptr, &running.stack, &running.stack_size);
    for (;;) {
        while (running.begun < running.threads.size()) {
            const unsigned thread = running.threads[running.begun++], row = thread / blockDim.x;
            threadIdx = self->thread = {thread % blockDim.x, row % blockDim.y, row / blockDim.y};
            running.thread(running.values);
        }
        idle.push_back(self);
        leave(self);
    }
}

Fiber* take_fiber()
{
    if (!idle.empty()) {
        Fiber* const fiber = idle.back();
        idle.pop_back();
        return fiber;
    }
    Fiber* const fiber = new Fiber();
    fiber->stack = static_cast<char*>(malloc(STACK));
    getcontext(&fiber->begin);
    fiber->begin.uc_stack.ss_sp = fiber->stack;
    fiber->begin.uc_stack.ss_size = STACK;
    makecontext(&fiber->begin, run_threads, 0);
    return fiber;
}

// Null when every thread of the block waits at one barrier.
const char* check_barrier()
{
    const size_t waiting = running.waiting.size(), threads = running.threads.size();
    const Fiber* const first = running.waiting.front();
    const Fiber* other = first;
    for (const Fiber* fiber : running.waiting)
        if (fiber->line != first->line || strcmp(fiber->file, first->file) != 0) other = fiber;
    if (waiting == threads && other == first) return nullptr;
    const int length = snprintf(message, sizeof message, "block (%u, %u, %u): ", blockIdx.x, blockIdx.y, blockIdx.z);
    char* const rest = message + length;
    const size_t size = sizeof message - length;
    if (waiting != threads)
        snprintf(rest, size, "%zu of %zu threads finished while the others wait at the barrier of %s:%d",
                 threads - waiting, threads, first->file, first->line);
    else
        snprintf(rest, size, "threads wait at different barriers, those of %s:%d and %s:%d", first->file, first->line,
                 other->file, other->line);
    return message;
}

const char* run_block()
{
    static std::vector<Fiber*> resumed;
    shuffle(running.threads);
    for (running.begun = 0; running.begun < running.threads.size();) enter(take_fiber());
    while (!running.waiting.empty()) {
        if (const char* const fault = check_barrier()) {
            for (Fiber* fiber : running.waiting) {  // they stand inside the kernel and are of no more use
                free(fiber->stack);
                delete fiber;
            }
            running.waiting.clear();
            return fault;
        }
        resumed.swap(running.waiting);
        running.waiting.clear();
        shuffle(resumed);
        for (Fiber* fiber : resumed) enter(fiber);
    }
    return nullptr;
}

const char* run_blocks()
{
    const unsigned long long blocks = 1ull * gridDim.x * gridDim.y * gridDim.z;
    std::vector<unsigned long long> order;
    if (running.launch->seed != 0)
        for (unsigned long long i = 0; i < blocks; ++i) order.push_back(i);
    shuffle(order);
    for (unsigned long long i = 0; i < blocks; ++i) {
        const unsigned long long block = order.empty() ? i : order[i];
        blockIdx.x = block % gridDim.x;
        blockIdx.y = block / gridDim.x % gridDim.y;
        blockIdx.z = block / gridDim.x / gridDim.y;
        memset(shared, 0xff, running.launch->shared_bytes);  // NaN: nothing is left from the block before
        if (const char* const fault = run_block()) return fault;
    }
    return nullptr;
}

}  // namespace

void wait(const char* file, int line)
{
    Fiber* const self = running.fiber;
    self->file = file;
    self->line = line;
    running.waiting.push_back(self);
    leave(self);
    threadIdx = self->thread;
}

// Runs every thread of a launch. The message that comes back, if any, is good until the next launch.
const char* launch(const Launch* launch, void (*thread)(void**), void** values, unsigned most_threads)
{
    static std::mutex one_launch;
    const std::lock_guard<std::mutex> lock(one_launch);
    const unsigned threads = launch->block.x * launch->block.y * launch->block.z;
    if (threads > most_threads) {
        snprintf(message, sizeof message, "its __launch_bounds__ allow %u threads a block, got %u", most_threads,
                 threads);
        return message;
    }
    running.launch = launch;
    running.thread = thread;
    running.values = values;
    running.random = launch->seed;
    running.threads.resize(threads);
    for (unsigned i = 0; i < threads; ++i) running.threads[i] = i;
    gridDim = launch->grid;
    blockDim = launch->block;
    shared = static_cast<unsigned char*>(malloc(launch->shared_bytes));  // not a byte more: the red zone follows
    const char* const fault = run_blocks();
    free(shared);
    return fault;
}

}  // namespace fwfm_host
