from typing import Final

ASKS_FIELDS: Final[bytes]
"""The metadata entry of a request by which a gateway asks for the HTTP status and fields that the handler sets."""

def take_told(block: bytes) -> None:
    """Copy the HTTP status and fields from the metadata of a server's answer to the answer of the present call."""
