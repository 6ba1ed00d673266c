from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Any, Final

#: The prefix of fastrpc's own keys.
RESERVED_PREFIX: Final[str]
#: The form of a key.
KEY_CHARACTERS: Final[frozenset[str]]

class Metadata(MutableMapping[str, str]):
    """String keys and values that travel with a call.

    As a mapping it holds text. Values under keys that end in `-bin` are bytes; they are in `binary`.

    Raises:
        TypeError: a value does not fit its key; text, or bytes under a key that ends in `-bin`.
        ValueError: a key has other characters than a-z 0-9 . _ - or begins with `frpc-`.
    """

    #: Both kinds together.
    entries: dict[str, str | bytes]

    def __init__(self, entries: Mapping[str, Any] | Iterable[tuple[str, str | bytes]] = ()) -> None: ...
    def update(  # type: ignore[override]
        self, other: Mapping[str, Any] | Iterable[tuple[str, str | bytes]] = (), /, **more: str | bytes
    ) -> None:
        """Add text and, under keys that end in `-bin`, bytes; if one entry is invalid, add none."""

    @property
    def binary(self) -> MutableMapping[str, bytes]:
        """The entries whose key ends in `-bin`; entries set there are sent too."""

    def __getitem__(self, key: str) -> str: ...
    def __setitem__(self, key: str, value: str) -> None: ...
    def __delitem__(self, key: str) -> None: ...
    def __iter__(self) -> Iterator[str]: ...
    def __len__(self) -> int: ...

class MetadataPairs(Metadata):
    """Metadata whose keys may come several times, as gRPC has it; as a mapping it joins their values.

    Raises:
        TypeError: a value does not fit its key.
        ValueError: a key cannot be sent.
    """

    pairs: tuple[tuple[str, str | bytes], ...]

    def __init__(self, pairs: Iterable[tuple[str, str | bytes]] = ()) -> None: ...

class BinaryMetadata(MutableMapping[str, bytes]):
    """The `-bin` entries of a `Metadata`, in the same storage."""

    def __init__(self, entries: dict[str, str | bytes]) -> None: ...
    def __getitem__(self, key: str) -> bytes: ...
    def __setitem__(self, key: str, value: bytes) -> None: ...
    def __delitem__(self, key: str) -> None: ...
    def __iter__(self) -> Iterator[str]: ...
    def __len__(self) -> int: ...

def encode_metadata(entries: Mapping[str, Any]) -> bytes:
    """Return the wire form of a mapping of text, or of bytes under keys that end in `-bin`.

    Raises:
        TypeError: a value does not fit its key.
        ValueError: a key or value cannot be sent; the message names the key and the allowed form.
    """

def pairs_of(entries: Any) -> Iterable[tuple[str, str | bytes]]:
    """Return the keys and values of metadata, in their order."""

def encode_pairs(pairs: Iterable[tuple[str, str | bytes]]) -> bytes:
    """Return the wire form of keys and values, in their order; a key may come several times.

    Raises:
        TypeError: a value does not fit its key.
        ValueError: a key or value cannot be sent.
    """

def decode_metadata(data: bytes) -> dict[str, str | bytes]:
    """Return the entries of a wire form, both kinds together; a comma joins values of one key.

    The bytes were checked when they arrived.
    """

def metadata_pairs(data: bytes) -> tuple[tuple[str, str | bytes], ...]:
    """Return keys and values of a wire form in their order, without reserved keys."""

def split_answer(data: bytes | None) -> tuple[bytes, bytes]:
    """Return head and trailers of an answer; without a head all entries are trailers."""

def check_entry(key: object, value: object) -> None:
    """Refuse an invalid entry.

    Raises:
        TypeError: the key is not a str, or the value is neither str nor bytes.
        ValueError: the key contains characters other than a-z 0-9 . _ -, or does not fit the type of the value.
    """
