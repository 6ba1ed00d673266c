from typing import final

from fastrpc._core.protobuf.message import MessageSchema

@final
class MessageDecoder:
    """Bytes of a message -> its plain value in msgpack.

    Args:
        root: the message.
        depth: deepest nesting of containers in a plain value.
        items: most values in all containers of a plain value.
        in_row: the plain value is an array that holds the message's value.
    """

    root: MessageSchema
    in_row: bool
    def __init__(self, root: MessageSchema, *, depth: int, items: int, in_row: bool = False) -> None: ...
    def __call__(self, payload: bytes | bytearray | memoryview) -> bytes:
        """Return the plain value.

        Raises:
            DecodeError: the payload is malformed, nested too deep, or has a value that no type of Python has.
            CallError: it has too many values.
        """
