"""Parse requests of Deimos as Go does: paths, and parameters in the query or in a form."""

import posixpath
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, unquote_to_bytes

from fastrpc.coordination.deimos.answers import DialectError
from fastrpc.errors import ConfigError
from fastrpc.stores.base import KEY_BYTES, VALUE_BYTES, check_key

__all__ = ["FORM_BYTES", "KeyRequest", "clean_path", "is_form", "read_request"]

#: Most bytes of a form.
FORM_BYTES: Final = 1024 * 1024

#: Most parameters of a request, to bound the time that parsing takes.
_PARAMETERS: Final = 1_000

_TRUE: Final = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE: Final = frozenset({"0", "f", "F", "false", "FALSE", "False"})
_WRONG_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2}).{0,2}", re.DOTALL)
_NUMBER: Final = re.compile("[0-9]+")
_MOST_NUMBER: Final = 2**64 - 1


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """A request for a key or directory. The root is ""."""

    key: str
    value: bytes
    is_directory: bool
    is_recursive: bool
    is_watch: bool
    is_stream: bool

    #: 0: from now on.
    wait_index: int

    #: `must_exist`: the condition that the key exists (True), or that it does not (False); None: no condition.
    must_exist: bool | None
    value_before: bytes | None

    #: 0: no condition.
    index_before: int

    #: The time to live in seconds; None: permanent.
    ttl: int | None

    @property
    def is_conditional(self) -> bool:
        """True if the request compares a value or an index."""
        return self.value_before is not None or self.index_before > 0


def clean_path(path: str) -> str:
    """Return a path without `//`, `.` and `..`. A trailing slash stays."""
    cleaned = posixpath.normpath(f"/{path.lstrip('/')}")
    return f"{cleaned}/" if path.endswith("/") and cleaned != "/" else cleaned


def read_request(verb: str, path: str, query: bytes, form: bytes) -> KeyRequest:
    """Parse a request.

    Args:
        path: the escaped path after `/keys`.
        form: parameters in the body, which take precedence over parameters in the query.

    Raises:
        DialectError: the request cannot be read.
    """
    in_form = _parsed(form)
    parameters = _Parameters(_parsed(query) | in_form)
    index_before, wait_index = parameters.number("prevIndex", 203), parameters.number("waitIndex", 203)
    recursive, _, wait, directory, stream = map(
        parameters.flag, ("recursive", "sorted", "wait", "dir", "stream")
    )
    if wait and verb != "GET":
        raise DialectError(209, '"wait" can only be used with GET requests')
    before = parameters.values.get("prevValue")
    if before == "":
        raise DialectError(209, '"prevValue" cannot be empty')
    ttl = parameters.number("ttl", 202) if parameters.values.get("ttl") else None
    value = _raw(parameters.values.get("value", ""))
    if len(value) > VALUE_BYTES:
        raise DialectError(209, f"the value has {len(value)} bytes, the limit is {VALUE_BYTES}")
    return KeyRequest(
        _key(path),
        value,
        bool(directory),
        bool(recursive),
        bool(wait),
        bool(stream),
        wait_index,
        parameters.existence(),
        None if before is None else _raw(before),
        index_before,
        ttl,
    )


class _Parameters:
    def __init__(self, values: dict[str, str]) -> None:
        self.values = values

    def number(self, name: str, code: int) -> int:
        text = self.values.get(name, "0")
        number = int(text) if _NUMBER.fullmatch(text) and len(text) <= 20 else -1
        if not 0 <= number <= _MOST_NUMBER:
            raise DialectError(code, f'invalid value for "{name}"')
        return number

    def flag(self, name: str) -> bool | None:
        text = self.values.get(name)
        if text is None:
            return None
        if text not in _TRUE and text not in _FALSE:
            raise DialectError(209, f'invalid value for "{name}"')
        return text in _TRUE

    def existence(self) -> bool | None:
        # Clients of etcd send `prevExist`.
        text = self.values.get("prevExists", self.values.get("prevExist"))
        if text is None:
            return None
        if text not in _TRUE and text not in _FALSE:
            raise DialectError(209, "invalid value for prevExists")
        return text in _TRUE


def _parsed(text: bytes) -> dict[str, str]:
    """Return the parameters of a form or query. Of several with the same name, the first counts."""
    if len(text) > FORM_BYTES or text.count(b"&") >= _PARAMETERS:
        raise DialectError(209, f"a form has at most {FORM_BYTES} bytes and {_PARAMETERS} fields")
    if b";" in text:
        raise DialectError(210, "invalid semicolon separator in query")
    if wrong := _WRONG_ESCAPE.search(text):
        raise DialectError(210, f'invalid URL escape "{wrong[0].decode(errors="replace")}"')
    found: dict[str, str] = {}
    for part in text.split(b"&"):
        name, _, value = (_unescaped(one) for one in part.partition(b"="))
        if part:
            found.setdefault(name, value)
    return found


def _unescaped(text: bytes) -> str:
    return unquote_to_bytes(text.replace(b"+", b" ")).decode(errors="surrogateescape")


def _raw(text: str) -> bytes:
    """Return the bytes of a value, which need not be UTF-8."""
    return text.encode(errors="surrogateescape")


def _key(path: str) -> str:
    """Return the key of an escaped path."""
    key = posixpath.normpath(f"/{unquote(path, errors='surrogateescape').strip('/')}").strip("/")
    if len(_raw(key)) > KEY_BYTES:
        raise DialectError(209, f"the path has more than {KEY_BYTES} bytes")
    try:
        if key:
            check_key(key)
    except ConfigError as error:
        raise DialectError(209, error.message) from None
    return key


def is_form(content_type: bytes) -> bool:
    """Return whether a body of this content type is a form with parameters."""
    kind = content_type.partition(b";")[0]
    return kind.strip().lower() == b"application/x-www-form-urlencoded"
