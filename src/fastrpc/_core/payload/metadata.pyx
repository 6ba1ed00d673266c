"""String keys and values that are sent with a call.

Each entry is u8 key length, u8 0, u16 value length, key, value. Keys are `[a-z0-9._-]` and unique; values are text, or
bytes when the key ends in `-bin`. An entry counts as key + value + 32 bytes against the limit, as in HTTP/2 (RFC 9113,
6.5.2), so that many tiny entries are charged for their overhead.

With gRPC a key may repeat, and an answer has a head and trailers. Metadata received or sent by gRPC keeps repeated
keys, head and trailers unchanged: `decode_metadata` joins the values of a key, `metadata_pairs` keeps them separate.

rpcx, Phobos and both of their header gateways allow keys of any bytes. An entry whose key is invalid here is omitted
from the call and counted; the first one is logged.
"""

import os
from collections.abc import MutableMapping

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcmp, memset

from fastrpc._core.base.wire cimport load16, utf8_valid

from fastrpc._core.base.histogram import count_dropped

cdef enum:
    ENTRY_HEAD = 4
    ENTRY_COST = 32
    # Up to this many bytes, all keys are compared; above it, only keys whose bit in a filter is already set.
    FEW_BYTES = 256
    NOTED_BITS = 14
    LONGEST_KEY = 255

# Odd and secret, so that no peer can choose keys that collide in the filter.
cdef uint64_t hash_seed = int.from_bytes(os.urandom(8), "little") | 1

RESERVED_PREFIX = "frpc-"

# The entry that separates head and trailers in the metadata of a complete answer.
cdef bytes TRAILERS_BEGIN = bytes((len(b"frpc-trailers"), 0, 0, 0)) + b"frpc-trailers"

KEY_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._-")
cdef frozenset FOREIGN_KEY_BYTES = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789._-")


cdef inline bint key_valid(const char* key, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t i
    cdef unsigned char c
    if size == 0:
        return False
    for i in range(size):
        c = <unsigned char>key[i]
        if not (b"a" <= c <= b"z" or b"0" <= c <= b"9" or c == b"." or c == b"_" or c == b"-"):
            return False
    return True


cdef bint seen_before(const char* data, const char* key, Py_ssize_t size) noexcept nogil:
    """Return whether an earlier entry has the same key as the one at `key`."""
    cdef const char* at = data
    cdef Py_ssize_t length
    while at + ENTRY_HEAD < key:
        length = <uint8_t>at[0]
        if length == size and memcmp(at + ENTRY_HEAD, key, size) == 0:
            return True
        at += ENTRY_HEAD + length + load16(at + 2)
    return False


cdef inline bint note_key(uint64_t* noted, const char* key, Py_ssize_t size) noexcept nogil:
    """Add a key to a Bloom filter with one hash; return False if the key is certainly new."""
    cdef uint64_t mixed = size, bit
    cdef Py_ssize_t i
    for i in range(size):
        mixed = (mixed ^ <uint8_t>key[i]) * hash_seed
    mixed >>= 64 - NOTED_BITS
    bit = <uint64_t>1 << (mixed & 63)
    if noted[mixed >> 6] & bit:
        return True
    noted[mixed >> 6] |= bit
    return False


cdef int check_metadata(const char* data, Py_ssize_t size, Py_ssize_t limit) noexcept nogil:
    """Check that the entries are within `limit`, then that they are well-formed (PROTOCOL.md, "Metadata")."""
    cdef Py_ssize_t at = 0, cost = 0, key_size, value_size
    if size > limit:
        return METADATA_TOO_LARGE
    while at < size:
        if size - at < ENTRY_HEAD:
            return METADATA_MALFORMED
        key_size = <uint8_t>data[at]
        value_size = load16(data + at + 2)
        if key_size == 0 or key_size + value_size > size - at - ENTRY_HEAD:
            return METADATA_MALFORMED
        cost += key_size + value_size + ENTRY_COST
        at += ENTRY_HEAD + key_size + value_size
    return METADATA_TOO_LARGE if cost > limit else check_entries(data, size)


cdef bint is_too_large(bytes metadata, Py_ssize_t limit) noexcept:
    return check_metadata(PyBytes_AS_STRING(metadata), PyBytes_GET_SIZE(metadata), limit) == METADATA_TOO_LARGE


cdef int check_entries(const char* data, Py_ssize_t size) noexcept nogil:
    """Check keys and texts; return a MetadataVerdict. The entries are known to fill the block."""
    cdef Py_ssize_t at = 0, key_size, value_size
    cdef const char* key
    # 1,771 entries fit into the highest limit: comparing all pairs would take milliseconds.
    cdef uint64_t[1 << (NOTED_BITS - 6)] noted
    cdef bint is_long = size > FEW_BYTES
    if is_long:
        memset(noted, 0, sizeof(noted))
    while at < size:
        key_size = <uint8_t>data[at]
        value_size = load16(data + at + 2)
        key = data + at + ENTRY_HEAD
        if not key_valid(key, key_size):
            return METADATA_BAD_KEY
        if (not is_long or note_key(noted, key, key_size)) and seen_before(data, key, key_size):
            return METADATA_BAD_KEY
        if not is_binary(key, key_size) and not utf8_valid(key + key_size, value_size):
            return METADATA_BAD_TEXT
        at += ENTRY_HEAD + key_size + value_size
    return METADATA_OK


cpdef bytes encode_metadata(object entries):
    """Encode a mapping to text, or to bytes under keys that end in `-bin`.

    Raises:
        ValueError: a key or value cannot be sent; the message names the key and the allowed form.
    """
    return encode_pairs(pairs_of(entries))


def pairs_of(entries):
    """Return the keys and values of metadata, in their order."""
    if isinstance(entries, MetadataPairs):
        return entries.pairs
    if isinstance(entries, Metadata):
        entries = entries.entries
    return entries.items()


def encode_pairs(pairs):
    """Encode keys and values in their order; keys may repeat."""
    parts = []
    for key, value in pairs:
        check_entry(key, value)
        raw_key = key.encode("ascii")
        try:
            raw_value = value.encode() if isinstance(value, str) else bytes(value)
        except UnicodeEncodeError:
            raise ValueError(f"metadata {key!r} has a lone surrogate, which UTF-8 cannot express: {value!r}") from None
        if len(raw_value) > 65_535:
            raise ValueError(f"metadata {key!r} has {len(raw_value)} bytes, at most 65,535 fit")
        parts.append(entry_of(raw_key, raw_value))
    return b"".join(parts)


cdef bytes entry_of(bytes key, bytes value):
    return bytes((len(key), 0)) + len(value).to_bytes(2, "little") + key + value


cdef list entries_of(bytes data):
    cdef const char* start = PyBytes_AS_STRING(data)
    cdef Py_ssize_t at = 0, key_size, value_size
    cdef list found = []
    while at < PyBytes_GET_SIZE(data):
        key_size = <uint8_t>start[at]
        value_size = load16(start + at + 2)
        at += ENTRY_HEAD + key_size
        found.append((data[at - key_size:at], data[at:at + value_size]))
        at += value_size
    return found


cpdef dict decode_metadata(bytes data):
    """Return a dict of text and bytes without reserved keys; values of a repeated key are joined by commas.

    The bytes were checked when they arrived.
    """
    entries = {}
    for key, value in metadata_pairs(data):
        known = entries.get(key)
        if known is not None:
            value = known + ("," if isinstance(value, str) else b",") + value
        entries[key] = value
    return entries


def metadata_pairs(bytes data not None):
    """Return keys and values in their order, without reserved keys."""
    pairs = []
    for raw_key, value in entries_of(data):
        key = raw_key.decode("ascii")
        if not key.startswith(RESERVED_PREFIX):
            pairs.append((key, value if key.endswith("-bin") else value.decode()))
    return tuple(pairs)


cdef bytes join_answer(bytes head, bytes trailers):
    """Return the metadata of an answer without a stream that has a head and trailers; either may be None."""
    return trailers if head is None else head + TRAILERS_BEGIN + (trailers or b"")


def split_answer(bytes data):
    """Return head and trailers of an answer; without a head all entries are trailers."""
    if data is None:
        return b"", b""
    at = 0
    while at < len(data):
        if data.startswith(TRAILERS_BEGIN, at):
            return data[:at], data[at + len(TRAILERS_BEGIN):]
        at += ENTRY_HEAD + data[at] + (data[at + 2] | data[at + 3] << 8)
    return b"", data


cdef bint has_any_key(bytes data, frozenset keys) except -1:
    """Return whether an entry has one of these keys, given as bytes. The entries were checked when they arrived."""
    cdef Py_ssize_t at = 0, key_size
    cdef const char* start = PyBytes_AS_STRING(data)
    while at < PyBytes_GET_SIZE(data):
        key_size = <uint8_t>start[at]
        if data[at + ENTRY_HEAD:at + ENTRY_HEAD + key_size] in keys:
            return True
        at += ENTRY_HEAD + key_size + load16(start + at + 2)
    return False


def check_entry(key, value):
    """Refuse an invalid entry.

    Raises:
        TypeError: the key is not a str, or the value is neither str nor bytes.
        ValueError: the key contains characters other than a-z 0-9 . _ -, or does not fit the type of the value.
    """
    if not isinstance(key, str):
        raise TypeError(f"a metadata key is a str, not {type(key).__name__}")
    if not 0 < len(key) <= 255 or not KEY_CHARACTERS.issuperset(key):
        raise ValueError(f"metadata key {key!r}: keys are 1 to 255 of a-z 0-9 . _ -")
    if key.startswith(RESERVED_PREFIX):
        raise ValueError(f"metadata key {key!r}: {RESERVED_PREFIX} is reserved")
    if key.endswith("-bin"):
        if not isinstance(value, (bytes, bytearray, memoryview)):
            raise TypeError(f"metadata {key!r} takes bytes because its key ends in -bin, not {type(value).__name__}")
    elif not isinstance(value, str):
        raise TypeError(f"metadata {key!r} takes str, not {type(value).__name__}; for bytes end the key in -bin")


class Metadata(MutableMapping):
    """The text entries of a call's metadata; entries whose key ends in `-bin` are in `binary`.

    `entries` holds both kinds.
    """

    __slots__ = ("entries",)

    def __init__(self, entries=()):
        self.entries = {}
        self.update(entries)

    def update(self, other=(), /, **more):
        """Add text and, under keys that end in `-bin`, bytes; if one entry is invalid, add none."""
        entries = {**(other.entries if isinstance(other, Metadata) else dict(other)), **more}
        for key, value in entries.items():
            check_entry(key, value)
        self.entries.update(entries)

    @property
    def binary(self):
        """The entries whose keys end in `-bin`, as a mutable mapping to bytes."""
        return BinaryMetadata(self.entries)

    def __getitem__(self, key):
        value = self.entries[key]
        if not isinstance(value, str):
            raise KeyError(key)
        return value

    def __setitem__(self, key, value):
        if isinstance(key, str) and key.endswith("-bin"):
            raise ValueError(f"metadata {key!r} holds bytes; set it in .binary")
        check_entry(key, value)
        self.entries[key] = value

    def __delitem__(self, key):
        self[key]
        del self.entries[key]

    def __iter__(self):
        return (key for key, value in self.entries.items() if isinstance(value, str))

    def __len__(self):
        return sum(1 for _ in self)

    def __repr__(self):
        # The repr may be logged, and must not show a credential.
        shown = {key: "…" if key == "authorization" else value for key, value in self.entries.items()}
        return f"Metadata({shown!r})"


class MetadataPairs(Metadata):
    """Metadata whose keys may repeat, as in gRPC; as a mapping it joins the values of a key."""

    __slots__ = ("pairs",)

    def __init__(self, pairs=()):
        self.pairs = tuple(pairs)
        self.entries = decode_metadata(encode_pairs(self.pairs))


class BinaryMetadata(MutableMapping):
    """The `-bin` entries of a `Metadata`, in the same storage."""

    __slots__ = ("_entries",)

    def __init__(self, entries):
        self._entries = entries

    def __getitem__(self, key):
        value = self._entries[key]
        if isinstance(value, str):
            raise KeyError(key)
        return value

    def __setitem__(self, key, value):
        if isinstance(key, str) and not key.endswith("-bin"):
            raise ValueError(f"metadata {key!r}: keys of binary values end in -bin")
        check_entry(key, value)
        self._entries[key] = bytes(value)

    def __delitem__(self, key):
        self[key]
        del self._entries[key]

    def __iter__(self):
        return (key for key, value in self._entries.items() if not isinstance(value, str))

    def __len__(self):
        return sum(1 for _ in self)

    def __repr__(self):
        return f"BinaryMetadata({dict(self)!r})"


cdef bint has_form(bytes key) except -1:
    return 0 < len(key) <= LONGEST_KEY and FOREIGN_KEY_BYTES.issuperset(key)


cdef int note_dropped(list dropped, str protocol, object logger, bint is_told) except -1:
    for _ in dropped:
        count_dropped(protocol)
    if not is_told:
        text = "%s: the metadata entry %s is left out, keys are 1 to 255 of a-z 0-9 . _ - in either case (told once)"
        logger.warning(text, protocol, shown_key(dropped[0]))
    return 0


cdef str shown_key(bytes key):
    return ascii(key[:100].decode("utf-8", "replace"))
