def hash_of_text(text: bytes, is_escaped: bool = False) -> list[int]:
    """Return the hashes that the scan computes for the number and the UUID that a text may be."""

def hash_of_number(value: float) -> int:
    """Return the hash that the scan computes for an int of 64 bits or a float."""
