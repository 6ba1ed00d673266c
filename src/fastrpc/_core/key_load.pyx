"""What the keys of maps would cost a dict that is not protected against them.

Python seeds the hash of text and bytes, but not that of numbers: a sender can choose half a million of them so that
each one makes the dict walk over all those before it, for minutes. So the pre-scan does what the dict will do, with a
table of places and no objects, and stops where keys collide far more often than any keys that were not made for it.
Text that an annotation may turn into a number or a UUID, whose hash is that of a number, counts as one.

The walk is that of CPython's Objects/dictobject.c: slot = hash, then 5 * slot + 1 + what is left of the hash, which
loses five bits each time; a table that is two thirds full is replaced by one for three times as many. Should another
version walk otherwise the count is off for it, and a test that measures real dicts fails.
"""

from libc.math cimport frexp, isinf, isnan
from libc.stdint cimport int8_t, int64_t
from libc.stdlib cimport free, realloc, strtod
from libc.string cimport memcpy, memset

cdef enum:
    # Of a dict: slots of a new one, bits that the hash loses a step; of its hashes of numbers: bits of the prime.
    FIRST_SLOTS = 8
    PERTURB_SHIFT = 5
    HASH_BITS = 61

    # Slots looked at in vain, per key and once. Numbers in a row, at random or in steps of 10**n miss 1 or 2 times a
    # key; steps of 2**22 and more, the worst that nobody made for it, 63 times. At 3 ns a slot.
    MISSES_PER_KEY = 64
    MISSES_ONCE = 1_000_000

    # Text of more bytes is no number that is looked at: fewer such keys than would cost a second fit into a message.
    LONGEST_NUMBER = 512
    UUID_BYTES = 16
    UUID_DIGITS = 32
    UUID_TEXT = 36

cdef uint64_t MODULUS = (<uint64_t>1 << HASH_BITS) - 1


cdef inline uint64_t hash_signed(int64_t value) noexcept nogil:
    # As long_hash: the rest of the division by the prime, with the sign; -1 says "error" and becomes -2.
    cdef uint64_t rest
    if value >= 0:
        return <uint64_t>value % MODULUS
    rest = (0 - <uint64_t>value) % MODULUS
    return 0 - (2 if rest == 1 else rest)


cdef uint64_t hash_double(double value) noexcept nogil:
    # As _Py_HashDouble: the fraction in pieces of 28 bits, times the power of two modulo the prime.
    cdef int exponent
    cdef double fraction
    cdef uint64_t result = 0, piece
    cdef bint is_negative = value < 0
    if isinf(value):
        return 314159 if value > 0 else 0 - <uint64_t>314159
    fraction = frexp(-value if is_negative else value, &exponent)
    while fraction != 0.0:
        result = ((result << 28) & MODULUS) | result >> (HASH_BITS - 28)
        fraction *= 268435456.0
        exponent -= 28
        piece = <uint64_t>fraction
        fraction -= <double>piece
        result += piece
        if result >= MODULUS:
            result -= MODULUS
    exponent = exponent % HASH_BITS if exponent >= 0 else HASH_BITS - 1 - (-1 - exponent) % HASH_BITS
    result = ((result << exponent) & MODULUS) | result >> (HASH_BITS - exponent)
    if not is_negative:
        return result
    return 0 - (2 if result == 1 else result)


cdef inline uint64_t doubled(uint64_t value, int times) noexcept nogil:
    # Modulo the prime, 2**HASH_BITS - 1, doubling turns the bits round.
    return ((value << times) & MODULUS) | value >> (HASH_BITS - times)


cdef inline uint64_t plus(uint64_t value, uint64_t other) noexcept nogil:
    value += other
    return value - MODULUS if value >= MODULUS else value


cdef inline int hex_digit(uint8_t byte) noexcept nogil:
    if c"0" <= byte <= c"9":
        return byte - c"0"
    byte |= 0x20
    return byte - c"a" + 10 if c"a" <= byte <= c"f" else -1


cdef inline uint64_t mixed(uint64_t bits, uint8_t byte) noexcept nogil:
    # FNV-1a: which text it was.
    return (bits ^ byte) * <uint64_t>1099511628211


cdef inline uint64_t folded(uint64_t value) noexcept nogil:
    return plus(value & MODULUS, value >> HASH_BITS)


cdef bint push_uuid(KeyLoad* load, uint64_t high, uint64_t low) noexcept nogil:
    # Both halves are in the bits, one of them mixed (splitmix64): UUIDs that collide must not be taken for the same one.
    cdef uint64_t bits = (high ^ high >> 30) * <uint64_t>0xbf58476d1ce4e5b9
    bits = (bits ^ bits >> 27) * <uint64_t>0x94d049bb133111eb
    return push(load, plus(doubled(folded(high), 64 - HASH_BITS), folded(low)), (bits ^ bits >> 31) ^ low)


cdef inline bint has_dashes(const uint8_t* text) noexcept nogil:
    return text[8] == c"-" and text[13] == c"-" and text[18] == c"-" and text[23] == c"-"


cdef bint note_uuid_text(KeyLoad* load, const uint8_t* text, Py_ssize_t size) noexcept nogil:
    # Without a branch for a digit: which of them are letters is chance, and each wrong guess costs as much as five digits.
    cdef uint64_t high = 0, low = 0
    cdef uint32_t is_wrong = 0, byte
    cdef Py_ssize_t index
    for index in range(size):
        if size == UUID_TEXT and (index == 8 or index == 13 or index == 18 or index == 23):
            continue
        byte = text[index]
        is_wrong |= <uint32_t>(byte - c"0" > 9) & <uint32_t>((byte | 0x20) - c"a" > 5)
        high = high << 4 | low >> 60
        low = low << 4 | ((byte & 0xF) + 9 * (byte >> 6))
    return is_wrong or push_uuid(load, high, low)


cdef bint note_number_text(KeyLoad* load, const uint8_t* text, Py_ssize_t size) noexcept nogil:
    cdef char[512] copy                                     # LONGEST_NUMBER of them
    cdef char* behind
    cdef bint is_negative = text[0] == c"-", is_whole = True
    cdef uint64_t hash = 0, bits = 0
    cdef Py_ssize_t index
    cdef double value
    if size == is_negative:
        return True
    for index in range(<Py_ssize_t>is_negative, size):
        bits = mixed(bits, text[index])
        if is_whole and c"0" <= text[index] <= c"9":
            hash = plus(plus(doubled(hash, 3), doubled(hash, 1)), text[index] - c"0")
        else:
            is_whole = False
    if is_whole:
        if is_negative:
            hash = 0 - (2 if hash == 1 else hash)
        return push(load, hash, bits + is_negative)
    if size >= LONGEST_NUMBER:
        return True
    memcpy(copy, text, size)
    copy[size] = 0
    value = strtod(copy, &behind)
    return behind != copy + size or isnan(value) or push(load, hash_double(value), bits + is_negative)


cdef bint note_text(KeyLoad* load, const uint8_t* text, Py_ssize_t size) noexcept nogil:
    load.seen += 1
    if size == UUID_TEXT and has_dashes(text):
        return note_uuid_text(load, text, size)
    # 32 digits may be either.
    if size == UUID_DIGITS and not note_uuid_text(load, text, size):
        return False
    if size == 0 or not (text[0] == c"-" or c"0" <= text[0] <= c"9"):
        return True
    return note_number_text(load, text, size)


cdef bint note_escaped(KeyLoad* load, const uint8_t* text, Py_ssize_t size) noexcept nogil:
    cdef uint8_t[512] plain                                 # LONGEST_NUMBER of them
    cdef Py_ssize_t at = 0, filled = 0
    while at < size and filled < LONGEST_NUMBER:
        plain[filled] = text[at]
        if text[at] == c"\\":
            # Numbers have but digits, letters, a point and signs, and those are written so or as they are.
            if size - at < 6 or text[at + 1] != c"u" or text[at + 2] != c"0" or text[at + 3] != c"0":
                load.seen += 1
                return True
            plain[filled] = <uint8_t>(hex_digit(text[at + 4]) << 4 | hex_digit(text[at + 5]))
            at += 5
        at += 1
        filled += 1
    return note_text(load, plain, filled)


cdef bint push(KeyLoad* load, uint64_t hash, uint64_t bits) noexcept nogil:
    cdef Py_ssize_t capacity
    cdef Key* keys
    if load.size == load.capacity:
        capacity = max(256, 2 * load.capacity)
        keys = <Key*>realloc(load.keys, capacity * sizeof(Key))
        if keys is NULL:
            return False
        load.keys = keys
        load.capacity = capacity
    load.keys[load.size].hash = hash
    load.keys[load.size].bits = bits
    load.size += 1
    return True


cdef bint note_string(KeyLoad* load, uint8_t lead, const uint8_t* place, const uint8_t* end) noexcept nogil:
    # Text and bytes have seeded hashes, as long as they stay what they are.
    cdef bint is_text = lead < 0xC4 or lead >= 0xD9
    cdef Py_ssize_t size = lead & 0x1F
    cdef int width
    if lead >= 0xC4:
        width = 1 << (lead - 0xD9 if is_text else lead - 0xC4)
        if end - place < width:
            return True
        size = <Py_ssize_t>load_big_endian(place, width)
        place += width
    if size > end - place:
        return True
    if is_text:
        return note_text(load, place, size)
    load.seen += 1
    return size != UUID_BYTES or push_uuid(load, load_big_endian(place, 8), load_big_endian(place + 8, 8))


cdef bint note_key(KeyLoad* load, uint8_t lead, const uint8_t* place, const uint8_t* end, uint32_t* others) noexcept nogil:
    cdef int width
    cdef uint64_t bits
    cdef float single
    cdef double value
    cdef uint32_t single_bits
    if 0xA0 <= lead < 0xC0 or 0xD9 <= lead <= 0xDB or 0xC4 <= lead <= 0xC6:
        return note_string(load, lead, place, end)
    load.seen += 1
    if lead < 0x80 or lead >= 0xE0:                         # fixint
        return push(load, hash_signed(<int8_t>lead), <uint64_t><int64_t><int8_t>lead)
    if not 0xCA <= lead <= 0xD3:
        # Hashes of containers and timestamps are made of those of numbers: each may collide with all others.
        others[0] += 1
        load.misses += others[0]
        return True
    width = 1 << ((lead - 0xCC) & 3)                        # float 32, 64, uint 8 to 64, int 8 to 64
    if end - place < width:
        return True
    bits = load_big_endian(place, width)
    if lead >= 0xD0:
        bits = <uint64_t>(<int64_t>(bits << (64 - 8 * width)) >> (64 - 8 * width))
        return push(load, hash_signed(<int64_t>bits), bits)
    if lead >= 0xCC:
        return push(load, bits % MODULUS, bits)
    if lead == 0xCA:
        single_bits = <uint32_t>bits
        memcpy(&single, &single_bits, sizeof(single))
        value = single
    else:
        memcpy(&value, &bits, sizeof(value))
    # The hash of a NaN is the object's address.
    return isnan(value) or push(load, hash_double(value), bits)


cdef bint clear_slots(KeyLoad* load, Py_ssize_t count) noexcept nogil:
    cdef uint32_t* slots
    if load.slot_capacity < count:
        slots = <uint32_t*>realloc(load.slots, count * sizeof(uint32_t))
        if slots is NULL:
            return False
        load.slots = slots
        load.slot_capacity = count
    memset(load.slots, 0, count * sizeof(uint32_t))
    return True


cdef Py_ssize_t find_slot(KeyLoad* load, const Key* keys, Py_ssize_t number, uint64_t mask) noexcept nogil:
    """Return the free slot for a key, or -1 when one of the same bits is there."""
    cdef uint64_t perturb = keys[number].hash
    cdef uint64_t slot = perturb & mask
    cdef const Key* there
    while load.slots[slot]:
        there = &keys[load.slots[slot] - 1]
        if there.hash == keys[number].hash and there.bits == keys[number].bits:
            return -1
        load.misses += 1
        perturb >>= PERTURB_SHIFT
        slot = (slot * 5 + perturb + 1) & mask
    return <Py_ssize_t>slot


cdef bint weigh_keys(KeyLoad* load, Py_ssize_t base) noexcept nogil:
    cdef const Key* keys = load.keys + base
    cdef Py_ssize_t count = load.size - base, size = FIRST_SLOTS, used = 0, number, old, slot
    load.size = base
    if count < KEYS_UNSEEN:
        return True
    if not clear_slots(load, size):
        return False
    for number in range(count):
        slot = find_slot(load, keys, number, size - 1)
        if slot < 0:
            continue
        if is_overloaded(load):
            return True
        if used == (size << 1) // 3:
            while size < 3 * used:
                size <<= 1
            if not clear_slots(load, size):
                return False
            for old in range(number):
                if is_overloaded(load):
                    return True
                slot = find_slot(load, keys, old, size - 1)
                if slot >= 0:
                    load.slots[slot] = <uint32_t>old + 1
            slot = find_slot(load, keys, number, size - 1)
        load.slots[slot] = <uint32_t>number + 1
        used += 1
    return True


cdef bint is_overloaded(const KeyLoad* load) noexcept nogil:
    return load.misses > MISSES_ONCE + MISSES_PER_KEY * load.seen


cdef void release(KeyLoad* load) noexcept nogil:
    free(load.keys)
    free(load.slots)
    memset(load, 0, sizeof(KeyLoad))


def hash_of_text(bytes text not None, bint is_escaped=False):
    """Return the hashes that the scan computes for the number and the UUID that a text may be."""
    cdef KeyLoad load
    cdef Py_ssize_t index
    memset(&load, 0, sizeof(load))
    # `text` is kept by the caller.
    if is_escaped:
        note_escaped(&load, <const uint8_t*><const char*>text, len(text))
    else:
        note_text(&load, <const uint8_t*><const char*>text, len(text))
    hashes = [<int64_t>load.keys[index].hash for index in range(load.size)]
    release(&load)
    return hashes


def hash_of_number(value):
    """Return the hash that the scan computes for an int of 64 bits or a float."""
    if isinstance(value, float):
        return <int64_t>hash_double(value)
    return <int64_t>(hash_signed(value) if value < 0 else <uint64_t>value % MODULUS)
