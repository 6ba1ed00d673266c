/* A 64-bit hash that is the same in every process, on every machine and under every Python: it places keys and
 * endpoints on the hash ring, so a change of it moves every key of every user. tests/unit/_core/balancing/test_hash_ring.py
 * pins its values. Bytes and arithmetic only; no Python object is touched here.
 *
 * It folds 16 bytes at a time with one 64 x 64 -> 128 bit multiplication. It is no protection against keys that were
 * chosen to meet: a caller that knows the hash can aim at one endpoint. The ring's bounded load is. */
#ifndef FASTRPC_HASH64_H
#define FASTRPC_HASH64_H

#include <stdint.h>

#include "base/wire.h"

/* Fractions of the square roots of 2, 3, 5, 7 and 11 in 64 bits, made odd: numbers with nothing up their sleeve. */
#define FRPC_ROOT2 0x6a09e667f3bcc909ull
#define FRPC_ROOT3 0xbb67ae8584caa73bull
#define FRPC_ROOT5 0x3c6ef372fe94f82bull
#define FRPC_ROOT7 0xa54ff53a5f1d36f1ull
#define FRPC_ROOT11 0x510e527fade682d1ull

/* Both halves of the product, and the factors themselves, so that a factor of 0 does not swallow the other. */
static inline uint64_t frpc_fold(uint64_t a, uint64_t b) {
#if defined(__SIZEOF_INT128__)
    unsigned __int128 product = (unsigned __int128)a * b;
    uint64_t low = (uint64_t)product, high = (uint64_t)(product >> 64);
#else
    uint64_t a0 = (uint32_t)a, a1 = a >> 32, b0 = (uint32_t)b, b1 = b >> 32;
    uint64_t middle = a1 * b0 + ((a0 * b0) >> 32), other = a0 * b1 + (uint32_t)middle;
    uint64_t low = a * b, high = a1 * b1 + (middle >> 32) + (other >> 32);
#endif
    return low ^ high ^ (a + ((b << 23) | (b >> 41)));
}

/* A whole number; also the `index`-th number of a sequence, when `index` times an odd constant is added. */
static inline uint64_t frpc_hash_number(uint64_t number, uint64_t seed) {
    return frpc_fold(frpc_fold(number ^ FRPC_ROOT2, seed ^ FRPC_ROOT3), FRPC_ROOT5);
}

static inline uint64_t frpc_hash_bytes(const char *data, size_t size, uint64_t seed) {
    uint64_t state = seed ^ FRPC_ROOT7, a = 0, b = 0;
    size_t left = size;
    for (; left > 16; left -= 16, data += 16)
        state = frpc_fold(frpc_load64(data) ^ FRPC_ROOT2, frpc_load64(data + 8) ^ state);
    /* The last 0 to 16 bytes as two words, which may overlap; the size tells apart what that makes equal. */
    if (left >= 8) {
        a = frpc_load64(data);
        b = frpc_load64(data + left - 8);
    } else if (left >= 4) {
        a = frpc_load32(data);
        b = frpc_load32(data + left - 4);
    } else if (left) {
        a = (uint64_t)(unsigned char)data[0] << 16 | (uint64_t)(unsigned char)data[left >> 1] << 8 | (unsigned char)data[left - 1];
    }
    state = frpc_fold(a ^ FRPC_ROOT3, b ^ state);
    return frpc_fold(state ^ FRPC_ROOT5, (uint64_t)size ^ FRPC_ROOT11);
}

/* FNV-1a, and the jump hash of Lamping and Veach (arXiv 1406.2294): what Go rpcx places its calls with. The hash of a text
 * continues the hash of its beginning; an empty text has FRPC_FNV_EMPTY. */
#define FRPC_FNV_EMPTY 0xcbf29ce484222325ull

static inline uint64_t frpc_fnv1a(uint64_t hash, const char *data, size_t size) {
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ (unsigned char)data[i]) * 0x100000001b3ull;
    return hash;
}

/* A bucket from 0 to `buckets` - 1; `buckets` must not be 0. */
static inline uint32_t frpc_jump_hash(uint64_t key, uint32_t buckets) {
    int64_t bucket = 0, next = 0;
    while (next < (int64_t)buckets) {
        bucket = next;
        key = key * 2862933555777941757ull + 1;
        next = (int64_t)((double)(bucket + 1) * ((double)(1ll << 31) / (double)((key >> 33) + 1)));
    }
    return (uint32_t)bucket;
}

#endif
