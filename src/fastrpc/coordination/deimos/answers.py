"""Answers of Deimos: nodes, events and errors, in the JSON that Go writes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

__all__ = ["NEVER", "DialectError", "KeyEvent", "KeyNode", "body_of", "path_of"]

#: The expiration of a node whose expiration was removed. Deimos shows it as the year 1, Go's zero time.
NEVER: Final = -1

#: The HTTP status and the message of each error code.
_ERRORS: Final = {
    100: (404, "Key not found"),
    101: (412, "Compare failed"),
    102: (403, "Not a file"),
    104: (400, "Not a directory"),
    105: (412, "Key already exists"),
    106: (403, "The prefix of given key is read only"),
    107: (400, "Root is read only"),
    108: (403, "Directory not empty"),
    110: (403, "The caller lacks the right"),
    111: (507, "The store is full"),
    202: (400, "The given TTL in POST form is not a number"),
    203: (400, "The given index in POST form is not a number"),
    209: (400, "Invalid field"),
    210: (400, "Invalid POST form"),
    300: (500, "Store Internal Error"),
    401: (400, "The event in requested index is outdated and cleared"),
}

_SECOND: Final = 1_000_000_000

#: Characters that Go escapes in JSON, and bytes that are not UTF-8, which Go replaces.
_ESCAPES: Final = {ord(one): f"\\u{ord(one):04x}" for one in "&<>\u2028\u2029"} | dict.fromkeys(
    range(0xDC80, 0xDD00), "\\ufffd"
)


class DialectError(Exception):
    """A refused request.

    Args:
        code: an error code of Deimos.
        cause: the key or the values that caused the error.
        index: the index of the store; 0 for a request that cannot be read.
    """

    def __init__(self, code: int, cause: str, index: int = 0) -> None:
        super().__init__(f"{code}: {cause}")
        self.index = index
        self.status, self._message = _ERRORS[code]
        self._code, self._cause = code, cause

    def body(self) -> bytes:
        """Return the error as a JSON object that ends with a newline."""
        found = {
            "errorCode": self._code,
            "message": self._message,
            "cause": self._cause,
            "index": self.index,
        }
        return _written(found)


@dataclass(frozen=True, slots=True)
class KeyNode:
    """A key or a directory at one moment; the root is ""."""

    key: str
    modified: int
    created: int

    #: The value; None for a directory and for a deleted key.
    value: bytes | None = None

    is_directory: bool = False

    #: `expires`: the expiration in nanoseconds since 1970, `NEVER`, or None for a permanent node. `seconds_left`: the
    #: seconds until then, rounded up.
    expires: int | None = None
    seconds_left: int = 0

    #: `nodes`: the nodes of a listed directory. `nodes_size`: their approximate bytes in the answer.
    nodes: Sequence["KeyNode"] = ()
    nodes_size: int = 0

    @property
    def size(self) -> int:
        """The approximate bytes of the node in an answer."""
        return 200 + len(self.key) + len(self.value or b"") + self.nodes_size

    def fields(self) -> dict[str, Any]:
        """Return the fields of the node in the JSON of Deimos."""
        found: dict[str, Any] = {"key": path_of(self.key)}
        if self.value is not None:
            found["value"] = self.value.decode(errors="surrogateescape")
        if self.is_directory:
            found["dir"] = True
        if self.expires is not None:
            found["expiration"] = _instant(self.expires)
        if self.seconds_left:
            found["ttl"] = self.seconds_left
        if self.nodes:
            found["nodes"] = [node.fields() for node in self.nodes]
        return found | {"modifiedIndex": self.modified, "createdIndex": self.created}


@dataclass(frozen=True, slots=True)
class KeyEvent:
    """The result of a request, or a change of a key."""

    action: str
    node: KeyNode
    before: KeyNode | None = None

    #: The keys and directories below a directory that were removed together with it.
    removed: Sequence[str] = field(default=(), repr=False)

    @property
    def revision(self) -> int:
        return self.node.modified

    @property
    def is_creation(self) -> bool:
        """True if the key did not exist before."""
        return self.action == "create" or (self.action == "set" and self.before is None)

    @property
    def is_of_file(self) -> bool:
        """True if the event is about a key and not a directory."""
        return not (self.node if self.before is None else self.before).is_directory

    def size(self) -> int:
        """The bytes that the event occupies in the history."""
        before = 0 if self.before is None else self.before.size
        return self.node.size + before + sum(map(len, self.removed))


def body_of(event: KeyEvent) -> bytes:
    """Return an event as JSON that ends with a newline."""
    found = {"action": event.action, "node": event.node.fields()}
    if event.before is not None:
        found["prevNode"] = event.before.fields()
    return _written(found)


def path_of(key: str) -> str:
    """Return a key as a path of Deimos."""
    return f"/{key}"


def _written(found: dict[str, Any]) -> bytes:
    text = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
    return text.translate(_ESCAPES).encode() + b"\n"


def _instant(nanoseconds: int) -> str:
    if nanoseconds == NEVER:
        return "0001-01-01T00:00:00Z"
    seconds, rest = divmod(nanoseconds, _SECOND)
    # `datetime.fromtimestamp` is avoided, since its range depends on the platform.
    instant = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    fraction = f".{rest:09}".rstrip("0") if rest else ""
    return f"{instant:%Y-%m-%dT%H:%M:%S}{fraction}Z"
