"""The one hash of the broker for short byte strings: subjects, tokens, queue names.

A folding multiply (64 x 64 -> 128 bits, halves xored), two words a step, as wyhash and its family do. The
seed is secret and random per broker, and it is mixed into *both* factors of every multiplication: with a
public constant on one side a client could choose eight bytes that make that factor zero, and with it
thousands of subjects with one hash, whatever the seed. Every bit of the result is usable, low or high.

Not for files and not for the wire: values differ between byte orders and may change between versions.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from * nogil:
    """
    #ifndef SHARDBROKER_HASHING
    #define SHARDBROKER_HASHING
    static inline uint64_t shardbroker_fold(uint64_t left, uint64_t right)
    {
        unsigned __int128 product = (unsigned __int128)left * right;
        return (uint64_t)product ^ (uint64_t)(product >> 64);
    }
    #endif
    """
    uint64_t fold "shardbroker_fold"(uint64_t left, uint64_t right) noexcept
    # Odd constants with about as many ones as zeros: fractional digits of square roots, as in SHA-2.
    const uint64_t HASH_A "UINT64_C(0x6A09E667F3BCC909)"
    const uint64_t HASH_B "UINT64_C(0xBB67AE8584CAA73B)"
    const uint64_t HASH_C "UINT64_C(0x3C6EF372FE94F82B)"


cdef inline uint64_t read_u64(const uint8_t *data) noexcept nogil:
    """Eight bytes at any alignment."""
    cdef uint64_t word
    memcpy(&word, data, 8)
    return word


cdef inline uint64_t read_u32(const uint8_t *data) noexcept nogil:
    """Four bytes at any alignment."""
    cdef uint32_t word
    memcpy(&word, data, 4)
    return word


cdef inline uint64_t mix_u64(uint64_t word) noexcept nogil:
    """Spread a word over all 64 bits. A bijection, so it adds no collision."""
    word = (word ^ (word >> 32)) * HASH_A
    word = (word ^ (word >> 29)) * HASH_B
    return word ^ (word >> 32)


cdef inline uint64_t hash_bytes(const uint8_t *data, uint32_t size, uint64_t seed) noexcept nogil:
    """Hash of ``size`` bytes. Reads nothing outside ``data[0:size]``; ``data`` may be unaligned."""
    cdef uint64_t state = seed ^ HASH_A
    cdef uint64_t guard = (seed ^ (seed >> 31)) * HASH_C + size
    cdef uint64_t first, second
    cdef uint32_t left = size
    while left > 16:
        state = fold(read_u64(data) ^ guard, read_u64(data + 8) ^ state) + HASH_B
        data += 16
        left -= 16
    # The last 0-16 bytes: overlapping reads cover every length without a loop over bytes.
    if left >= 8:
        first = read_u64(data)
        second = read_u64(data + left - 8)
    elif left >= 4:
        first = read_u32(data)
        second = read_u32(data + left - 4)
    elif left > 0:
        first = (<uint64_t>data[0] << 16) | (<uint64_t>data[left >> 1] << 8) | data[left - 1]
        second = 0
    else:
        first = second = 0
    state = fold(first ^ guard, second ^ state)
    return fold(state ^ HASH_C, guard ^ HASH_B)
