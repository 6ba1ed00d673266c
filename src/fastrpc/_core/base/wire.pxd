"""Conversion to and from the wire's byte order, and the clock, as inline C; see `wire.h`."""

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t

cdef extern from "base/wire.h" nogil:
    uint16_t load16 "frpc_load16"(const char* p) noexcept
    uint32_t load32 "frpc_load32"(const char* p) noexcept
    uint64_t load64 "frpc_load64"(const char* p) noexcept
    void store16 "frpc_store16"(char* p, uint16_t value) noexcept
    void store32 "frpc_store32"(char* p, uint32_t value) noexcept
    void store64 "frpc_store64"(char* p, uint64_t value) noexcept
    uint64_t now_ns "frpc_now_ns"() noexcept
    uint64_t tick_ns "frpc_tick_ns"() noexcept
    bint utf8_valid "frpc_utf8_valid"(const char* text, Py_ssize_t size) noexcept
    const int64_t SECOND "FRPC_SECOND"
    const int64_t MINUTE "FRPC_MINUTE"
