/* 64-bit words that several processes change, and the keyed hash of what names them. Bytes and arithmetic only. */
#ifndef FASTRPC_SHARED_WORD_H
#define FASTRPC_SHARED_WORD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(_MSC_VER)
#include <intrin.h>

/* Without fork the words belong to one process, whose GIL orders all access. */
static inline int64_t frpc_word(const int64_t *place) { return *(const volatile int64_t *)place; }

static inline int frpc_replace_word(int64_t *place, int64_t old, int64_t word)
{
    return _InterlockedCompareExchange64(place, word, old) == old;
}

static inline void frpc_add_word(int64_t *place, int64_t change) { _InterlockedExchangeAdd64(place, change); }

#else

static inline int64_t frpc_word(const int64_t *place) { return __atomic_load_n(place, __ATOMIC_RELAXED); }

/* Return whether the word was `old` and is `word` now. */
static inline int frpc_replace_word(int64_t *place, int64_t old, int64_t word)
{
    return __atomic_compare_exchange_n(place, &old, word, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

static inline void frpc_add_word(int64_t *place, int64_t change)
{
    __atomic_fetch_add(place, change, __ATOMIC_RELAXED);
}

#endif

static inline uint64_t frpc_rotated(uint64_t word, int bits) { return (word << bits) | (word >> (64 - bits)); }

static inline void frpc_sip_round(uint64_t v[4])
{
    v[0] += v[1]; v[1] = frpc_rotated(v[1], 13); v[1] ^= v[0]; v[0] = frpc_rotated(v[0], 32);
    v[2] += v[3]; v[3] = frpc_rotated(v[3], 16); v[3] ^= v[2];
    v[0] += v[3]; v[3] = frpc_rotated(v[3], 21); v[3] ^= v[0];
    v[2] += v[1]; v[1] = frpc_rotated(v[1], 17); v[1] ^= v[2]; v[2] = frpc_rotated(v[2], 32);
}

/* SipHash-1-3 (Aumasson, Bernstein, "SipHash: a fast short-input PRF", 2012): who does not know the secret can choose
   no two keys that share a word. */
static inline uint64_t frpc_keyed_hash(const uint64_t secret[2], const char *data, size_t size)
{
    uint64_t v[4] = {
        secret[0] ^ 0x736f6d6570736575ULL, secret[1] ^ 0x646f72616e646f6dULL,
        secret[0] ^ 0x6c7967656e657261ULL, secret[1] ^ 0x7465646279746573ULL,
    };
    uint64_t word = 0;
    size_t at;
    for (at = 0; at + 8 <= size; at += 8) {
        memcpy(&word, data + at, 8);
        v[3] ^= word;
        frpc_sip_round(v);
        v[0] ^= word;
    }
    word = 0;
    memcpy(&word, data + at, size - at);
    word |= (uint64_t)size << 56;
    v[3] ^= word;
    frpc_sip_round(v);
    v[0] ^= word;
    v[2] ^= 0xff;
    frpc_sip_round(v);
    frpc_sip_round(v);
    frpc_sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

#endif
