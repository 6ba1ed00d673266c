"""`deque` is sent as an array, `Counter` as a map."""

from collections import Counter, deque
from collections.abc import Callable
from typing import Any, get_args

from fastrpc.types.base import Inner, PayloadType

__all__ = ["payload_type"]


def payload_type(cls: type[Any]) -> PayloadType | None:
    """Return the payload type of a class of `collections`."""
    return _DEQUE if cls is deque else _COUNTER if cls is Counter else None


def _encode_deque(value: "deque[Any]", codec: str) -> list[Any]:
    return list(value)


def _encode_counter(value: "Counter[Any]", codec: str) -> dict[Any, int]:
    return dict(value)


def _plain_deque(annotation: Any) -> Any:
    return list.__class_getitem__(_item(annotation))


def _plain_counter(annotation: Any) -> Any:
    return dict.__class_getitem__((_item(annotation), int))


def _deque_decoder(annotation: Any, inner: Inner) -> Callable[[Any], Any]:
    items = inner(_plain_deque(annotation))
    return lambda plain: deque(items(plain))


def _counter_decoder(annotation: Any, inner: Inner) -> Callable[[Any], Any]:
    counts = inner(_plain_counter(annotation))
    return lambda plain: Counter(counts(plain))


def _item(annotation: Any) -> Any:
    """Return T of `deque[T]` or `Counter[T]`; Any without brackets."""
    return (*get_args(annotation), Any)[0]


_DEQUE = PayloadType(_encode_deque, _deque_decoder, _plain_deque)
_COUNTER = PayloadType(_encode_counter, _counter_decoder, _plain_counter)
