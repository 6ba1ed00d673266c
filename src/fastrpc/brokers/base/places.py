"""Convert places in a topic to and from text, for the command line and for callers in other languages."""

from datetime import datetime
from typing import Final

from fastrpc.brokers.base import Place
from fastrpc.brokers.base.checks import check_place
from fastrpc.errors import ConfigError

__all__ = ["place_of", "text_of"]

#: Digits of the greatest sequence number, 2**63 - 1. CPython refuses to read thousands of digits.
_DIGITS: Final = 19


def place_of(text: str) -> Place:
    """Return the place that a text names: "oldest", "new", an ISO 8601 instant with its zone, or a sequence number.

    Raises:
        ConfigError: the text names no place.
    """
    place: Place = text
    if text.isascii() and text.isdigit() and len(text) <= _DIGITS:
        place = int(text)
    elif text[:1].isdigit():
        try:
            place = datetime.fromisoformat(text)
        except ValueError as error:
            raise ConfigError(
                f"{text[:64]!a} is not a place in a topic: {error}",
                hint='write "oldest", "new", 2026-01-31T12:00:00Z, or a sequence number',
            ) from None
    check_place(place)
    return place


def text_of(place: Place) -> str:
    """Return a place as a text that `place_of` reads."""
    return place.isoformat() if isinstance(place, datetime) else str(place)
