from typing import Final

ASKS_FIELDS: Final[bytes]
"""The entry of a request's metadata by which a gateway asks for status and fields of the answer by HTTP."""

def take_told(block: bytes) -> None:
    """Give the answer of the present call the status and the fields that the metadata of a server's answer tells."""
