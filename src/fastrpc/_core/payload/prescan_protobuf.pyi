from collections.abc import Mapping, Sequence
from typing import Literal, final

@final
class MessageLayout:
    """The layout of a protobuf payload: the fields of each message that hold messages or packed numbers.

    `messages` has one mapping for each message, the payload's first: from a field's tag
    (number times eight, plus 2 for a message or packed numbers, or 3 for a group) to the place of its content in
    `messages`, or to -2, -3, -4 for packed numbers that are varints or take four or eight bytes each.
    `fastrpc.codecs.protobuf.message_layout` makes it from a message class.
    """

    def __init__(self, messages: Sequence[Mapping[int, int]]) -> None: ...
    def prescan_payload(
        self, payload: bytes | bytearray | memoryview, *, max_depth: int = 100, max_items: int = 1_000_000
    ) -> tuple[Literal["ok", "too deep", "too many items", "malformed"], int]:
        """Return the result of the scan of `payload`, and the bytes charged for its decoding.

        The payload itself is depth 1. Every field that is set is an item, also each occurrence of a repeated field, and
        each number of a packed field in addition to the field. A message or group is a container.
        """
