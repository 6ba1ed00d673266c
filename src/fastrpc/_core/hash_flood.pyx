"""Refuses keys of maps and values of sets that were chosen to collide.

Python seeds the hash of text and bytes, but not that of numbers, nor of what is made of numbers: a sender can choose half
a million keys so that each one makes a dict walk over all those before it, for minutes. The types of a method tell
which keys of such types its payloads may have (`rpc/key_types.py`). Where the pre-scan finds a long map, its keys are
decoded apart, once for each such type, and hashed by Python itself. Then they walk through a table as they would
through a dict or a set.

What is bounded, and so what a payload that passes may cost more than an honest one of the same size:

- keys that differ and have the same hash: at most 64 of each hash. They are compared, which may be Python code.
- slots looked at in vain, over all maps of a payload: 64 for each key, 256 for each value of a set, and 200,000 once; a
  comparison counts as 16. Numbers in a row or at random miss 1 or 2 times; the worst that nobody made for it, steps of
  2**n and fractions with a power of two below, up to 44 times in a dict and 211 times in a set, which looks at
  neighbours. A slot takes some 3 ns, so what passes costs about as much as these do: a few times what decoding takes.
- maps that together allow fewer than 32,768 / 2 comparisons pass unseen, as do those of up to 64 entries.

The walks are those of CPython's Objects/dictobject.c and Objects/setobject.c. In a dict: slot = hash, then
5 * slot + 1 + what is left of the hash, which loses five bits each time; a table that is two thirds full is replaced by
one for three times as many. A set looks at nine neighbours first and grows by four, above 50,000 by two, when it is three
fifths full. Hashes that are equal meet in a table of any kind; should another version walk otherwise, the count is off
for the rest, and a test that measures real dicts and sets fails.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.object cimport Py_EQ, PyObject_Hash, PyObject_RichCompareBool
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

from typing import Any

import msgspec

cdef enum:
    MSGPACK = 1

    # Of a new dict or set, bits that the hash loses a step, and neighbours that a set looks at.
    FIRST_SLOTS = 8
    PERTURB_SHIFT = 5
    NEIGHBOURS = 9
    # A set of more entries grows by two.
    LARGE_SET = 50_000

    # See above.
    MOST_ALIKE = 64
    MISSES_PER_KEY = 64
    MISSES_PER_VALUE = 256
    MISSES_ONCE = 200_000
    MISSES_PER_COMPARISON = 16

    # Keys decoded at a time: few enough to leave little behind, many enough that the call does not count.
    KEYS_AT_ONCE = 1024

    # Found by `_find` instead of a slot.
    IS_THERE = -1
    IS_FLOOD = -2

    # How `_weigh` ends.
    GOES_ON = 0
    STOPS = 1
    FLOODS = 2

# Maps whose entries can be compared so often, at most, are let through: less than a millisecond.
cdef double UNSEEN_COMPARISONS = 1 << 15


@cython.final
cdef class KeyTable:
    def __cinit__(self, *, bint is_set):
        self._is_set = is_set
        self.restart()

    def __dealloc__(self):
        free(self._hashes)
        free(self._slots)

    def weigh(self, keys):
        self.restart()
        for key in keys:
            if self.add(key, <uint64_t>PyObject_Hash(key)):
                return True
        return False

    cdef int restart(self) except -1:
        """Begin with the next container."""
        self._keys = []
        self._used = 0
        return self._clear_slots(FIRST_SLOTS)

    cdef bint is_overloaded(self) noexcept:
        return self.misses > MISSES_ONCE + (MISSES_PER_VALUE if self._is_set else MISSES_PER_KEY) * self.seen

    cdef bint add(self, object key, uint64_t hash) except -1:
        """Add a key; return whether they collide by now."""
        cdef Py_ssize_t slot
        cdef uint64_t* hashes
        self.seen += 1
        slot = self._find(key, hash)
        if slot < 0:
            return slot == IS_FLOOD or self.is_overloaded()
        if self._used == self._capacity:
            hashes = <uint64_t*>realloc(self._hashes, (2 * self._capacity + 64) * sizeof(uint64_t))
            if hashes is NULL:
                raise MemoryError
            self._hashes = hashes
            self._capacity = 2 * self._capacity + 64
        self._keys.append(key)
        self._hashes[self._used] = hash
        self._used += 1
        self._slots[slot] = <uint32_t>self._used
        if self._is_set:
            if 5 * self._used >= 3 * <Py_ssize_t>self._mask:
                self._grow()
        elif self._used == (<Py_ssize_t>self._mask + 1) * 2 // 3:
            self._grow()
        return self.is_overloaded()

    cdef Py_ssize_t _find(self, object key, uint64_t hash) except -3:
        """Return the free slot for a key, IS_THERE or IS_FLOOD."""
        cdef uint64_t perturb = hash, slot = hash & self._mask, at, last
        cdef uint32_t there
        cdef int alike = 0
        while not self.is_overloaded():
            last = slot
            if self._is_set and slot + NEIGHBOURS <= self._mask:
                last += NEIGHBOURS
            for at in range(slot, last + 1):
                there = self._slots[at]
                if not there:
                    return <Py_ssize_t>at
                self.misses += 1
                if self._hashes[there - 1] != hash:
                    continue
                # `==` may be code of the program.
                if PyObject_RichCompareBool(self._keys[there - 1], key, Py_EQ):
                    return IS_THERE
                alike += 1
                self.misses += MISSES_PER_COMPARISON
                if alike == MOST_ALIKE:
                    return IS_FLOOD
            perturb >>= PERTURB_SHIFT
            slot = (slot * 5 + perturb + 1) & self._mask
        return IS_FLOOD

    cdef Py_ssize_t _free_slot(self, uint64_t hash) noexcept:
        """Return the free slot for a key that no other equals, as in a table that grew."""
        cdef uint64_t perturb = hash, slot = hash & self._mask, at, last
        while True:
            last = slot
            if self._is_set and slot + NEIGHBOURS <= self._mask:
                last += NEIGHBOURS
            for at in range(slot, last + 1):
                if not self._slots[at]:
                    return <Py_ssize_t>at
                self.misses += 1
            perturb >>= PERTURB_SHIFT
            slot = (slot * 5 + perturb + 1) & self._mask

    cdef int _clear_slots(self, Py_ssize_t size) except -1:
        cdef uint32_t* slots
        if self._slot_capacity < size:
            slots = <uint32_t*>realloc(self._slots, size * sizeof(uint32_t))
            if slots is NULL:
                raise MemoryError
            self._slots = slots
            self._slot_capacity = size
        memset(self._slots, 0, size * sizeof(uint32_t))
        self._mask = size - 1
        return 0

    cdef int _grow(self) except -1:
        """Make room as Python does, and put the keys into the new slots until they collide too often."""
        cdef Py_ssize_t size = FIRST_SLOTS, number
        cdef Py_ssize_t least = 3 * self._used - 1
        if self._is_set:
            least = self._used * (2 if self._used > LARGE_SET else 4)
        while size <= least:
            size *= 2
        self._clear_slots(size)
        for number in range(self._used):
            self._slots[self._free_slot(self._hashes[number])] = <uint32_t>number + 1
            if self.is_overloaded():
                break
        return 0


@cython.final
cdef class HashFloodGuard:
    def __init__(self, int codec_id, *, tuple keys not None, tuple values not None, bint skips_texts=False):
        self.codec_id = codec_id
        self.skips_texts = skips_texts
        self.keys = keys
        self.values = values

    cdef bint finds_flood(self, const char* data, const KeyLog* log) except -1:
        if log.comparisons < UNSEEN_COMPARISONS:
            return False
        for decode in self.keys:
            if self._weighs_too_much(decode, True, data, log):
                return True
        for decode in self.values:
            if self._weighs_too_much(decode, False, data, log):
                return True
        return False

    cdef bint _weighs_too_much(self, object decode, bint is_map, const char* data, const KeyLog* log) except -1:
        """Weigh the entries of all maps, or of all arrays, taken for one type."""
        cdef KeyTable table = KeyTable(is_set=not is_map)
        cdef Py_ssize_t number, at, count
        cdef int found
        for number in range(log.group_count):
            if log.groups[number].is_map != is_map:
                continue
            table.restart()
            count = log.groups[number].count
            for at in range(0, count, KEYS_AT_ONCE):
                found = self._weigh(
                    table, decode, data, &log.kept[log.groups[number].first + at], min(count - at, KEYS_AT_ONCE)
                )
                if found == FLOODS:
                    return True
                if found == STOPS:
                    break
        return False

    cdef int _weigh(self, KeyTable table, object decode, const char* data, const Span* spans, Py_ssize_t count) except -1:
        """Add some keys to the table, up to the first one that is not of this type: the decoder stops there as well."""
        cdef int found
        try:
            keys = decode(self._payload_of(data, spans, count))
            if self.codec_id == MSGPACK:
                keys = next(iter(keys))
            hashes = [hash(key) for key in keys]
        except Exception:
            # Whatever it is, the map itself cannot have this key either.
            if count == 1:
                return STOPS
            found = self._weigh(table, decode, data, spans, count // 2)
            if found != GOES_ON:
                return found
            return self._weigh(table, decode, data, spans + count // 2, count - count // 2)
        for key, number in zip(keys, hashes):
            if table.add(key, <uint64_t><int64_t>number):
                return FLOODS
        return GOES_ON

    cdef object _payload_of(self, const char* data, const Span* spans, Py_ssize_t count):
        """Return a payload of these entries: [entry, …], in msgpack as a key, {[entry, …]: nil}, and so decoded as keys."""
        cdef Py_ssize_t size = 5 + count, index
        cdef bytes payload
        cdef char* place
        for index in range(count):
            size += spans[index].end - spans[index].start
        payload = PyBytes_FromStringAndSize(NULL, size)
        # Filled before anybody else sees it.
        place = PyBytes_AS_STRING(payload)
        if self.codec_id == MSGPACK:
            place[0] = <char>0x81  # a map of one
            place[1] = <char>0xDC  # an array, its length in 16 bits
            place[2] = <char>(count >> 8)
            place[3] = <char>(count & 0xFF)
            place += 4
        for index in range(count):
            if self.codec_id != MSGPACK:
                place[0] = c"," if index else c"["
                place += 1
            size = spans[index].end - spans[index].start
            if self.codec_id != MSGPACK:
                size = trimmed(data + spans[index].start, size)
            memcpy(place, data + spans[index].start, size)
            place += size
        place[0] = <char>0xC0 if self.codec_id == MSGPACK else c"]"
        return payload[:place + 1 - PyBytes_AS_STRING(payload)]


cdef Py_ssize_t trimmed(const char* text, Py_ssize_t size) noexcept:
    """Return the size of a value of JSON without what stands between it and the next one."""
    while size and (<unsigned char>text[size - 1] <= c" " or text[size - 1] == c","):
        size -= 1
    return size


def key_decoder(int codec_id, type, *, is_key=True):
    """Return what decodes many keys, or values of a set, of one type."""
    if codec_id == MSGPACK:
        return msgspec.msgpack.Decoder(dict[tuple[type, ...], Any]).decode
    # Keys are text in JSON; where a number is asked for, the number in it.
    return msgspec.json.Decoder(list[type], strict=not is_key).decode


def untyped_guard():
    """Return the guard of msgpack values of which no type is known."""
    return HashFloodGuard(MSGPACK, keys=(key_decoder(MSGPACK, Any),), values=(), skips_texts=True)
