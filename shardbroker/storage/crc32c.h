/* CRC-32C (Castagnoli), the checksum of everything on disk: 8 bytes a step with the processor's instruction
 * where there is one, a table otherwise. crc32c(0, data, size) is the standard value; a former result as seed
 * continues over more data. */
#ifndef SHARDBROKER_CRC32C_H
#define SHARDBROKER_CRC32C_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static uint32_t crc32c_table[256];

static inline uint32_t crc32c_soft(uint32_t crc, const uint8_t *at, size_t size) {
    if (crc32c_table[1] == 0) {
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t value = i;
            for (int bit = 0; bit < 8; bit++)
                value = value & 1 ? (value >> 1) ^ 0x82F63B78u : value >> 1;
            crc32c_table[i] = value;
        }
    }
    while (size--)
        crc = (crc >> 8) ^ crc32c_table[(crc ^ *at++) & 255];
    return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2")))
static inline uint32_t crc32c_hard(uint32_t crc, const uint8_t *at, size_t size) {
    uint64_t wide = crc, word;
    for (; size >= 8; size -= 8, at += 8) {
        memcpy(&word, at, 8);
        wide = __builtin_ia32_crc32di(wide, word);
    }
    crc = (uint32_t)wide;
    while (size--)
        crc = __builtin_ia32_crc32qi(crc, *at++);
    return crc;
}
#define CRC32C_HAS_HARD() __builtin_cpu_supports("sse4.2")
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
static inline uint32_t crc32c_hard(uint32_t crc, const uint8_t *at, size_t size) {
    uint64_t word;
    for (; size >= 8; size -= 8, at += 8) {
        memcpy(&word, at, 8);
        crc = __crc32cd(crc, word);
    }
    while (size--)
        crc = __crc32cb(crc, *at++);
    return crc;
}
#define CRC32C_HAS_HARD() 1
#else
#define crc32c_hard crc32c_soft
#define CRC32C_HAS_HARD() 0
#endif

static inline uint32_t crc32c(uint32_t seed, const void *data, size_t size) {
    uint32_t crc = ~seed;
    crc = CRC32C_HAS_HARD() ? crc32c_hard(crc, (const uint8_t *)data, size)
                            : crc32c_soft(crc, (const uint8_t *)data, size);
    return ~crc;
}

#endif
