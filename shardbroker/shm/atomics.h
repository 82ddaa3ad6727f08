/* Atomic operations on shared memory, named by what they promise (C11 memory model, GCC builtins).
 *
 * load_acquire   what the writer stored before its release is visible after it
 * store_release  everything stored before is visible to who loads the new value
 * load_relaxed / store_relaxed   no order, only no tearing (statistics)
 * fence_seq_cst  the store before it and the load after it do not swap; needed by every
 *                "announce, then re-check" protocol (doorbell, busy, want_space)
 */
#ifndef SHARDBROKER_ATOMICS_H
#define SHARDBROKER_ATOMICS_H
#include <stdint.h>
#include <time.h>

static inline uint64_t load_acquire_u64(const uint64_t *cell) {
    return __atomic_load_n(cell, __ATOMIC_ACQUIRE);
}
static inline uint64_t load_relaxed_u64(const uint64_t *cell) {
    return __atomic_load_n(cell, __ATOMIC_RELAXED);
}
static inline void store_release_u64(uint64_t *cell, uint64_t value) {
    __atomic_store_n(cell, value, __ATOMIC_RELEASE);
}
static inline void store_relaxed_u64(uint64_t *cell, uint64_t value) {
    __atomic_store_n(cell, value, __ATOMIC_RELAXED);
}
static inline uint64_t fetch_add_u64(uint64_t *cell, uint64_t value) {
    return __atomic_fetch_add(cell, value, __ATOMIC_SEQ_CST);
}
static inline uint64_t fetch_or_u64(uint64_t *cell, uint64_t value) {
    return __atomic_fetch_or(cell, value, __ATOMIC_SEQ_CST);
}
static inline uint64_t fetch_and_u64(uint64_t *cell, uint64_t value) {
    return __atomic_fetch_and(cell, value, __ATOMIC_SEQ_CST);
}
static inline uint64_t exchange_u64(uint64_t *cell, uint64_t value) {
    return __atomic_exchange_n(cell, value, __ATOMIC_SEQ_CST);
}
static inline uint32_t load_acquire_u32(const uint32_t *cell) {
    return __atomic_load_n(cell, __ATOMIC_ACQUIRE);
}
static inline void store_release_u32(uint32_t *cell, uint32_t value) {
    __atomic_store_n(cell, value, __ATOMIC_RELEASE);
}
static inline void fence_seq_cst(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

/* CLOCK_MONOTONIC in nanoseconds: the only clock that deadlines use. */
static inline uint64_t monotonic_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
/* Wall clock in nanoseconds since 1970: only for what people read. */
static inline uint64_t wall_clock_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
#endif
