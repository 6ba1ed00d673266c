/* Byte order and copies of the wire: little-endian whatever the machine, read by memcpy because bodies are packed. */
#ifndef FASTRPC_WIRE_H
#define FASTRPC_WIRE_H

#include <stdint.h>
#include <string.h>
#include <time.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define FRPC_LE16(v) __builtin_bswap16(v)
#define FRPC_LE32(v) __builtin_bswap32(v)
#define FRPC_LE64(v) __builtin_bswap64(v)
#else
#define FRPC_LE16(v) (v)
#define FRPC_LE32(v) (v)
#define FRPC_LE64(v) (v)
#endif

static inline uint16_t frpc_load16(const char *p) { uint16_t v; memcpy(&v, p, 2); return FRPC_LE16(v); }
static inline uint32_t frpc_load32(const char *p) { uint32_t v; memcpy(&v, p, 4); return FRPC_LE32(v); }
static inline uint64_t frpc_load64(const char *p) { uint64_t v; memcpy(&v, p, 8); return FRPC_LE64(v); }
static inline void frpc_store16(char *p, uint16_t v) { v = FRPC_LE16(v); memcpy(p, &v, 2); }
static inline void frpc_store32(char *p, uint32_t v) { v = FRPC_LE32(v); memcpy(p, &v, 4); }
static inline void frpc_store64(char *p, uint64_t v) { v = FRPC_LE64(v); memcpy(p, &v, 8); }

/* Nanoseconds. */
#define FRPC_SECOND 1000000000ll
#define FRPC_MINUTE (60 * FRPC_SECOND)

/* The clock of every deadline: the base of time.monotonic_ns() and of loop.time(). */
static inline uint64_t frpc_now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * (uint64_t)FRPC_SECOND + (uint64_t)t.tv_nsec;
}

/* The same clock as of the system's last tick, a few milliseconds ago at most: a fraction of the price. */
static inline uint64_t frpc_tick_ns(void) {
#ifdef CLOCK_MONOTONIC_COARSE
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return (uint64_t)t.tv_sec * (uint64_t)FRPC_SECOND + (uint64_t)t.tv_nsec;
#else
    return frpc_now_ns();
#endif
}

/* UTF-8 as in RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF. Returns 1 when valid. */
static inline int frpc_utf8_valid(const char *text, Py_ssize_t size) {
    const unsigned char *p = (const unsigned char *)text, *end = p + size;
    while (p < end) {
        unsigned char c = *p;
        if (c < 0x80) { p++; continue; }
        Py_ssize_t more = c >= 0xC2 && c <= 0xDF ? 1 : (c & 0xF0) == 0xE0 ? 2 : c >= 0xF0 && c <= 0xF4 ? 3 : 0;
        if (!more || end - p <= more) return 0;
        unsigned char d = p[1];
        if (d < (c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80) || d > (c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF)) return 0;
        for (Py_ssize_t i = 2; i <= more; i++)
            if ((p[i] & 0xC0) != 0x80) return 0;
        p += more + 1;
    }
    return 1;
}

#endif
