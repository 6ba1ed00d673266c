"""Refuse map keys and set values whose hashes were chosen to collide.

Python seeds the hashes of text and bytes, but not the hashes of numbers or of values made of numbers. A sender can
choose half a million keys so that each insertion into a dict probes all earlier keys, which takes minutes. The types of
a method determine which keys with such hashes its payloads may have (`rpc/schema/scans.py`). If the pre-scan finds a
long map, its keys are decoded separately, once for each such type, and hashed by Python itself. Then they are inserted
into a model of a dict or a set.

The bounds:

- bytes decoded separately: the payload once for each type, and three times more; a payload that needs more is refused.
If keys are containers, or arrays contain arrays, an entry lies within other entries and is decoded with each. An entry
of more than 64 bytes is decoded once for each container to which it belongs. Up to 1024 smaller entries are decoded
together. If that fails, up to 16 are decoded together, and the entry of another type is found by halving. - different
keys with the same hash: at most 64 for each hash. They are compared, which may run Python code. - probes of taken
slots, over all maps of a payload, for each type: 64 for each key, 256 for each value of a set, and 2,500,000 in
addition; a comparison counts as 16 probes. So some 4,000 keys pass with 64 keys of each hash, and all powers of two
that are floats, with 34 keys of each hash. Consecutive or random numbers probe 1 or 2 taken slots each. The worst
harmless numbers of many measured, multiples of 2**n and fractions over a power of two, probe up to 44 in a dict and 211
in a set, which also probes neighbours.

Maps that together allow fewer than 32,768 comparisons, and maps of up to 64 entries, are not checked. The cost of `==`
and `hash` of a program's own types is not considered.

The model follows CPython's Objects/dictobject.c and Objects/setobject.c. In a dict the first slot is the hash, the next
ones are 5 * slot + 1 + the rest of the hash, which loses five bits each time. A dict that is two thirds full is
replaced by one for three times as many keys. A set first probes nine neighbours of each slot; when it is three fifths
full, it grows fourfold, and twofold above 50,000 values. If another version of CPython probes differently, the number
of probes is wrong, and a test that measures real dicts and sets fails. The bound for equal hashes holds in any case.
"""

from typing import Any

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.object cimport Py_EQ, PyObject_Hash, PyObject_RichCompareBool
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

from fastrpc._core.payload.prescan cimport Group

cdef enum:
    MSGPACK = 1

    # FIRST_SLOTS: the slots of a new dict or set. PERTURB_SHIFT: the bits that the hash loses at each step. NEIGHBOURS:
    # the neighbours that a set probes.
    FIRST_SLOTS = 8
    PERTURB_SHIFT = 5
    NEIGHBOURS = 9
    # A set with more entries than this grows twofold.
    LARGE_SET = 50_000

    # The bounds in the module's docstring.
    MOST_ALIKE = 64
    MISSES_PER_KEY = 64
    MISSES_PER_VALUE = 256
    MISSES_ONCE = 2_500_000
    MISSES_PER_COMPARISON = 16

    # Keys decoded at a time: few enough to need little memory, many enough to make the cost of a call negligible.
    KEYS_AT_ONCE = 1024
    # Up to this many keys fail together only if one of them is at fault. With more keys, msgspec makes lists of inner
    # arrays.
    SURE_AT_ONCE = 16

    # Results of `_find` other than a slot.
    IS_THERE = -1
    IS_FLOOD = -2

    # Results of `_weigh` that `look_at` does not have. KEYS_STOP: a key has another type; it and all later keys are
    # ignored.
    KEYS_STOP = 3
    # The keys could not be decoded together.
    KEYS_FAIL = 4

    # Larger entries are decoded one by one, so that none is decoded twice; a much larger entry only if its head fits
    # the type.
    SMALL_ENTRY = 64
    LARGE_ENTRY = 1024
    # How many times the payload's size may be decoded in addition to once for each type.
    SPARE_SIZES = 3

# Maps pass if their entries need at most this many comparisons, which take less than a millisecond.
cdef double UNSEEN_COMPARISONS = 1 << 15


@cython.final
cdef class HashModel:
    def __cinit__(self, *, bint is_set):
        self._is_set = is_set
        self.restart()

    def __dealloc__(self):
        free(self._hashes)
        free(self._ranks)
        free(self._slots)

    def weigh(self, keys):
        self.restart()
        for key in keys:
            if self.add(key, <uint64_t>PyObject_Hash(key)):
                return True
        return False

    cdef int restart(self) except -1:
        """Empty the model for the next container."""
        self._keys = []
        self._used = 0
        return self._clear_slots(FIRST_SLOTS)

    cdef bint is_overloaded(self) noexcept:
        return self.misses > MISSES_ONCE + (MISSES_PER_VALUE if self._is_set else MISSES_PER_KEY) * self.seen

    cdef bint add(self, object key, uint64_t hash) except -1:
        """Add a key; return whether the keys collide too often."""
        cdef Py_ssize_t slot
        cdef int rank = 0
        self.seen += 1
        slot = self._find(key, hash, &rank)
        if slot < 0:
            return slot == IS_FLOOD or self.is_overloaded()
        if self._used == self._capacity:
            self._make_room()
        self._keys.append(key)
        self._hashes[self._used] = hash
        self._ranks[self._used] = <uint8_t>rank
        self._used += 1
        self._slots[slot] = <uint32_t>self._used
        if self._is_set:
            if 5 * self._used >= 3 * <Py_ssize_t>self._mask:
                self._grow()
        elif self._used == (<Py_ssize_t>self._mask + 1) * 2 // 3:
            self._grow()
        return self.is_overloaded()

    cdef int _make_room(self) except -1:
        cdef Py_ssize_t capacity = 2 * self._capacity + 64
        cdef void* larger = realloc(self._hashes, capacity * sizeof(uint64_t))
        if larger is NULL:
            raise MemoryError
        self._hashes = <uint64_t*>larger
        larger = realloc(self._ranks, capacity)
        if larger is NULL:
            raise MemoryError
        self._ranks = <uint8_t*>larger
        self._capacity = capacity
        return 0

    cdef Py_ssize_t _find(self, object key, uint64_t hash, int* rank) except -3:
        """Return the free slot for a key, IS_THERE or IS_FLOOD; `rank` is the number of other keys with its hash.

        Keys with the same hash probe the same slots, so all of them are met before the free slot, some more than once.
        """
        cdef uint64_t perturb = hash, slot = hash & self._mask, at, last
        cdef uint32_t there
        while not self.is_overloaded():
            last = slot
            if self._is_set and slot + NEIGHBOURS <= self._mask:
                last += NEIGHBOURS
            for at in range(slot, last + 1):
                there = self._slots[at]
                if not there:
                    return <Py_ssize_t>at if rank[0] < MOST_ALIKE else IS_FLOOD
                self.misses += 1
                if self._hashes[there - 1] != hash:
                    continue
                # `==` may run code of the program.
                if PyObject_RichCompareBool(self._keys[there - 1], key, Py_EQ):
                    return IS_THERE
                self.misses += MISSES_PER_COMPARISON
                rank[0] = max(rank[0], self._ranks[there - 1] + 1)
            perturb >>= PERTURB_SHIFT
            slot = (slot * 5 + perturb + 1) & self._mask
        return IS_FLOOD

    cdef Py_ssize_t _free_slot(self, uint64_t hash) noexcept:
        """Return the free slot for a key that equals no other key, such as in a table that has just grown."""
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
        """Enlarge the table as Python does, and put the keys into the new slots until they collide too often."""
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

    cdef int look_at(self, const char* data, Py_ssize_t size, const KeyLog* log) except -1:
        cdef Py_ssize_t left = (len(self.keys) + len(self.values) + SPARE_SIZES) * size, number
        cdef const Group* group
        cdef HashModel table
        cdef int found
        if log.comparisons < UNSEEN_COMPARISONS:
            return KEYS_PASS
        of_maps = [(decode, HashModel(is_set=False)) for decode in self.keys]
        of_arrays = [(decode, HashModel(is_set=True)) for decode in self.values]
        # Groups of inner containers come first, since these ended first. So no dict or set within an entry is a flood
        # when that entry is decoded.
        for number in range(log.group_count):
            group = &log.groups[number]
            for decode, table in of_maps if group.is_map else of_arrays:
                table.restart()
                found = self._weigh_group(table, decode, data, log.kept + group.first, group.count, &left)
                if found == KEYS_COLLIDE or found == KEYS_OVERLAP:
                    return found
        return KEYS_PASS

    cdef int _weigh_group(
        self, HashModel table, object decode, const char* data, const Span* spans, Py_ssize_t count, Py_ssize_t* left
    ) except -1:
        """Add the entries of one container to the table: the first one alone, then more and more at a time."""
        cdef Py_ssize_t at = 0, taken, most = KEYS_AT_ONCE
        cdef int found = KEYS_PASS
        while at < count and found == KEYS_PASS:
            taken = small_entries(spans + at, min(count - at, max(1, 3 * at), most))
            if taken == 0:
                taken = 1
                if not self._can_begin(decode, data, spans + at, left):
                    return KEYS_STOP
            found = self._weigh(table, decode, data, spans + at, taken, left)
            if found == KEYS_FAIL:
                most = SURE_AT_ONCE
                found = KEYS_PASS
            else:
                at += taken
        return found

    cdef int _weigh(
        self, HashModel table, object decode, const char* data, const Span* spans, Py_ssize_t count, Py_ssize_t* left
    ) except -1:
        """Add entries to the table up to the first one of another type, at which the decoder stops as well."""
        cdef Py_ssize_t tried = count
        cdef bint fails = False                             # whether one of the `count` is known to
        while True:
            keys = self._decoded(decode, self._payload_of(data, spans, tried, left), left)
            if left[0] < 0:
                return KEYS_OVERLAP
            if keys is None and tried > SURE_AT_ONCE:
                return KEYS_FAIL
            if keys is None:
                count = tried
                fails = True
            else:
                for key, number in keys:
                    if table.add(key, <uint64_t><int64_t>number):
                        return KEYS_COLLIDE
                if not fails:
                    return KEYS_PASS
                spans += tried
                count -= tried
            if count == 1:
                return KEYS_STOP
            tried = count // 2

    cdef object _decoded(self, object decode, bytes payload, const Py_ssize_t* left):
        """Return the entries with their hashes; None if an entry has another type, or no more bytes may be decoded."""
        if left[0] < 0:
            return None
        try:
            keys = decode(payload)
            if self.codec_id == MSGPACK:
                keys = next(iter(keys))
            return [(key, hash(key)) for key in keys]
        except Exception:
            # With any error, the map itself cannot have this key either.
            return None

    cdef bint _can_begin(self, object decode, const char* data, const Span* span, Py_ssize_t* left) except -1:
        """Return whether a large entry's head fits the type; if not, the rest of the entry is not decoded."""
        cdef Py_ssize_t size = head_size(self.codec_id, data + span.start, span.end - span.start)
        cdef Span head = Span(span.start, span.start + size)
        if size == 0:
            return True
        payload = self._payload_of(data, &head, 1, left)
        try:
            decode(payload[:len(payload) - 1])
        except Exception as error:
            # An error of another kind only says that the value is incomplete.
            return not _is_of_another_type(error)
        return True

    cdef bytes _payload_of(self, const char* data, const Span* spans, Py_ssize_t count, Py_ssize_t* left):
        """Return a payload with these entries: [entry, …]. In msgpack this list is a key, {[entry, …]: nil}, so that
        its entries are decoded as keys.

        Subtract the bytes of the entries from `left`; if it is then below 0, return an empty payload.
        """
        cdef Py_ssize_t size = 5 + count, index
        cdef bytes payload
        cdef char* place
        for index in range(count):
            size += spans[index].end - spans[index].start
        left[0] -= size - 5 - count
        if left[0] < 0:
            return b""
        payload = PyBytes_FromStringAndSize(NULL, size)
        # Filled before any other code sees it.
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


cdef Py_ssize_t small_entries(const Span* spans, Py_ssize_t count) noexcept:
    """Return how many entries at the start are small."""
    cdef Py_ssize_t index
    for index in range(count):
        if spans[index].end - spans[index].start > SMALL_ENTRY:
            return index
    return count


cdef Py_ssize_t head_size(int codec_id, const char* entry, Py_ssize_t size) noexcept:
    """Return the size of a large container's head, before its entries; 0 for another value."""
    cdef unsigned char lead = <unsigned char>entry[0]
    if size <= LARGE_ENTRY:
        return 0
    if codec_id != MSGPACK:
        return 1 if lead == c"[" or lead == c"{" else 0
    if lead == 0xDC or lead == 0xDE:                        # array and map 16
        return 3
    if lead == 0xDD or lead == 0xDF:                        # 32
        return 5
    return 1 if 0x80 <= lead < 0xA0 else 0


cdef Py_ssize_t trimmed(const char* text, Py_ssize_t size) noexcept:
    """Return the size of a JSON value without the bytes between it and the next value."""
    while size and (<unsigned char>text[size - 1] <= c" " or text[size - 1] == c","):
        size -= 1
    return size


cdef bint _is_of_another_type(error) except -1:
    import msgspec

    return isinstance(error, msgspec.ValidationError)


def key_decoder(int codec_id, type, *, is_key=True, dec_hook=None):
    """Return a decoder for many keys, or set values, of one type; `dec_hook` is msgspec's hook for other classes."""
    import msgspec  # On first use: a client that makes no call does not load it.

    if codec_id == MSGPACK:
        return msgspec.msgpack.Decoder(dict[tuple[type, ...], Any], dec_hook=dec_hook).decode
    # JSON keys are text; for a numeric key type the text is decoded as a number.
    return msgspec.json.Decoder(list[type], strict=not is_key, dec_hook=dec_hook).decode


def untyped_guard():
    """Return the guard for msgpack values of unknown type."""
    return HashFloodGuard(MSGPACK, keys=(key_decoder(MSGPACK, Any),), values=(), skips_texts=True)
