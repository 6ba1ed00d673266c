/* Positions of single bits, and hints to the cache. Bytes and arithmetic only; no Python object is touched here. */
#ifndef FASTRPC_BITS_H
#define FASTRPC_BITS_H

#include <stdint.h>

#if defined(_MSC_VER)
#include <intrin.h>

static inline int fastrpc_highest_bit(uint64_t word) {
    unsigned long index;
    _BitScanReverse64(&index, word);
    return (int)index;
}

static inline int fastrpc_lowest_bit(uint64_t word) {
    unsigned long index;
    _BitScanForward64(&index, word);
    return (int)index;
}

#else

/* Index of the highest set bit; `word` must not be 0. */
static inline int fastrpc_highest_bit(uint64_t word) {
    return 63 - __builtin_clzll(word);
}

/* Index of the lowest set bit; `word` must not be 0. */
static inline int fastrpc_lowest_bit(uint64_t word) {
    return __builtin_ctzll(word);
}

#endif

/* Fetch memory that is needed soon into the cache; a hint, any address will do. */
static inline void fastrpc_prefetch(const void *place)
{
#if defined(__GNUC__) || defined(__clang__)
    __builtin_prefetch(place, 1);
#else
    (void)place;
#endif
}

#endif
