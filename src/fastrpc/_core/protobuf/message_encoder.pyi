from collections.abc import Callable
from typing import Any, final

from fastrpc._core.protobuf.message import MessageSchema

@final
class MessageEncoder:
    """Values -> bytes of a message.

    Args:
        root: the message.
        encode: returns the plain value of a value, in msgpack.
        in_row: the plain value is an array that holds the message's value.
    """

    root: MessageSchema
    encode: Callable[[Any], bytes]
    in_row: bool
    def __init__(
        self, root: MessageSchema, encode: Callable[[Any], bytes], *, in_row: bool = False
    ) -> None: ...
    def __call__(self, value: Any) -> bytes:
        """Return the bytes of the message.

        Raises:
            EncodeError: the value does not fit the schema; the text names the field.
        """
