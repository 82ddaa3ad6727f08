"""C declarations of atomics.h: what each operation promises is said there."""

from libc.stdint cimport uint32_t, uint64_t


cdef extern from "atomics.h" nogil:
    uint64_t load_acquire_u64(const uint64_t *cell) noexcept
    uint64_t load_relaxed_u64(const uint64_t *cell) noexcept
    void store_release_u64(uint64_t *cell, uint64_t value) noexcept
    void store_relaxed_u64(uint64_t *cell, uint64_t value) noexcept
    uint64_t fetch_add_u64(uint64_t *cell, uint64_t value) noexcept
    uint64_t fetch_or_u64(uint64_t *cell, uint64_t value) noexcept
    uint64_t fetch_and_u64(uint64_t *cell, uint64_t value) noexcept
    uint64_t exchange_u64(uint64_t *cell, uint64_t value) noexcept
    uint32_t load_acquire_u32(const uint32_t *cell) noexcept
    void store_release_u32(uint32_t *cell, uint32_t value) noexcept
    void fence_seq_cst() noexcept
    uint64_t monotonic_ns() noexcept
    uint64_t wall_clock_ns() noexcept
