from typing import Any, final

@final
class MessageSchema:
    """The schema of a message, as the table that decoder and encoder follow.

    Args:
        name: its name in the schema, for errors.
        form: the plain value of a message: "map", "row", "arguments", "value", "nothing", "union", "any", "entry",
            "timestamp" or "duration".
        head: the tag of a Struct: the first pair of its map in msgpack, or the first item of its array.
        has_row: whether arguments may be an array.
    """

    name: str
    def __init__(self, name: str, form: str, *, head: bytes = b"", has_row: bool = False) -> None: ...
    def define(self, fields: list[Any]) -> None:
        """Set the fields, once: a message may hold itself. `FieldSpec` of `rpc.protobuf` has what is read of each."""
