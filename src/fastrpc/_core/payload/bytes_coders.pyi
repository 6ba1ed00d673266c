from collections.abc import Callable
from typing import Any, final

@final
class BytesDecoder:
    """The decoder of msgpack payloads that are one `bytes` value.

    Args:
        otherwise: decodes every other payload, or raises its error.
    """

    otherwise: Callable[[Any], Any]
    def __init__(self, otherwise: Callable[[Any], Any]) -> None: ...
    def __call__(self, payload: bytes | bytearray | memoryview) -> Any:
        """Return the value of a payload."""

@final
class BytesEncoder:
    """The encoder of large `bytes` values.

    Args:
        otherwise: encodes every other value.
    """

    otherwise: Callable[[Any], bytes]
    def __init__(self, otherwise: Callable[[Any], bytes]) -> None: ...
    def __call__(self, value: Any) -> bytes:
        """Return the payload of a value."""
