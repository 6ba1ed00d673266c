from typing import Any, final

from fastrpc._core.framing.frame import WireProtocol

@final
class NativeProtocol(WireProtocol):
    """fastrpc's own wire protocol, as PROTOCOL.md describes it."""

    def decode(self, data: bytes) -> dict[str, Any]:
        """Read one whole frame as a dict of its fields.

        Raises:
            RemoteProtocolError: it breaks the rules, is not whole, or something follows it.
        """

    def encode(self, fields: dict[str, Any]) -> bytes:
        """Write the frame that `decode` reads as these fields; what is left out is 0 or empty."""
