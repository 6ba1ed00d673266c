"""Texts that are sent and stored with messages: headers, keys, ids, and the reasons of dead letters."""

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from fastrpc._core.payload.metadata import check_entry
from fastrpc.errors import ConfigError

__all__ = ["OWN_PREFIX", "bytes_of", "checked_headers", "copied_headers", "kept_text", "shared_headers"]

#: The prefix of header names that are reserved for fastrpc.
OWN_PREFIX: Final = "frpc-"

#: Most characters that are kept of a reason, and most that are kept of an error.
_TEXT_CHARACTERS: Final = 4096


def kept_text(text: str) -> str:
    """Return the start of a reason or an error for a dead letter, with escapes for text that UTF-8 cannot encode."""
    begin = text[:_TEXT_CHARACTERS]
    if begin.isascii():
        return begin
    return begin.encode(errors="backslashreplace").decode()[:_TEXT_CHARACTERS]


def bytes_of(text: str, name: str) -> bytes:
    """Return a text as UTF-8.

    Raises:
        ConfigError: UTF-8 cannot encode the text.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"{name} is {text!a}, which is not UTF-8: {error.reason}") from None


def copied_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return a copy of headers as a dictionary, which encoders require."""
    # `dict(view)` would look up each name, which takes six times as long.
    return headers.copy() if isinstance(headers, MappingProxyType) else dict(headers)


@lru_cache(maxsize=1024)
def _check_name(name: str) -> None:
    """Check that the name of a header is a valid name of metadata. It is cached because programs repeat names."""
    if name == "authorization":
        raise ConfigError(
            "the header 'authorization' is refused: a broker keeps headers, and all subscribers see them"
        )
    check_entry(name, "")


def shared_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return checked, read-only headers. Most messages have only `content-type`; these share one mapping.

    Raises the errors of `checked_headers`.
    """
    if len(headers) == 1:
        ((name, text),) = headers.items()
        return _shared_header(name, text)
    return MappingProxyType(checked_headers(headers))


@lru_cache(maxsize=64)
def _shared_header(name: str, text: str) -> Mapping[str, str]:
    return MappingProxyType(checked_headers({name: text}))


def checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return a copy of a publisher's headers, after checking that they have the form of metadata."""
    kept = dict(headers)
    for name, text in kept.items():
        if not isinstance(text, str):
            raise TypeError(f"the header {name!r} is {type(text).__name__}, it must be text")
        try:
            _check_name(name)
        except ValueError as error:
            raise ConfigError(f"a header of the message: {error}") from None
    return kept
