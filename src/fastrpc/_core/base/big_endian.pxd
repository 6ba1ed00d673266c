"""Big-endian numbers, as in HTTP/2 and rpcx. Compilers turn each function into one load or store."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t


cdef inline uint16_t load16_big(const char* data) noexcept nogil:
    # The bytes belong to the caller.
    cdef const uint8_t* at = <const uint8_t*>data
    return <uint16_t>(at[0] << 8 | at[1])


cdef inline uint32_t load24_big(const char* data) noexcept nogil:
    cdef const uint8_t* at = <const uint8_t*>data
    return <uint32_t>at[0] << 16 | <uint32_t>at[1] << 8 | at[2]


cdef inline uint32_t load32_big(const char* data) noexcept nogil:
    cdef const uint8_t* at = <const uint8_t*>data
    return <uint32_t>at[0] << 24 | <uint32_t>at[1] << 16 | <uint32_t>at[2] << 8 | at[3]


cdef inline uint64_t load64_big(const char* data) noexcept nogil:
    return <uint64_t>load32_big(data) << 32 | load32_big(data + 4)


cdef inline void store16_big(char* data, uint32_t value) noexcept nogil:
    cdef uint8_t* at = <uint8_t*>data
    at[0] = <uint8_t>(value >> 8)
    at[1] = <uint8_t>value


cdef inline void store24_big(char* data, uint32_t value) noexcept nogil:
    cdef uint8_t* at = <uint8_t*>data
    at[0] = <uint8_t>(value >> 16)
    at[1] = <uint8_t>(value >> 8)
    at[2] = <uint8_t>value


cdef inline void store32_big(char* data, uint32_t value) noexcept nogil:
    cdef uint8_t* at = <uint8_t*>data
    at[0] = <uint8_t>(value >> 24)
    at[1] = <uint8_t>(value >> 16)
    at[2] = <uint8_t>(value >> 8)
    at[3] = <uint8_t>value


cdef inline void store64_big(char* data, uint64_t value) noexcept nogil:
    store32_big(data, <uint32_t>(value >> 32))
    store32_big(data + 4, <uint32_t>value)
