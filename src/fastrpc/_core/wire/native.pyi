from typing import Any, Final, final

from fastrpc._core.wire.frame import WireProtocol

MAGIC: Final[bytes]
PREFACE: Final[bytes]
NO_COMMON_VERSION: Final[bytes]

@final
class NativeProtocol(WireProtocol):
    """fastrpc's own wire protocol, as PROTOCOL.md describes it."""

    def decode(self, data: bytes) -> dict[str, Any]:
        """Parse one whole frame into a dict of its fields.

        Raises:
            RemoteProtocolError: the frame violates the protocol, is incomplete, or has bytes after it.
        """

    def encode(self, fields: dict[str, Any]) -> bytes:
        """Encode the frame with these fields, the inverse of `decode`; missing fields are 0 or empty."""
