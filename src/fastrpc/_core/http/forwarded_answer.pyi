from typing import Final

ASKS_FIELDS: Final[bytes]
"""The entry of a request's metadata by which a gateway asks for status and fields of the answer by HTTP."""

def take_told(block: bytes) -> None:
    """Copy status and fields from the metadata of a server's answer to the answer of the present call."""
