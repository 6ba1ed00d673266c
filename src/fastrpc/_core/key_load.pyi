def hash_of_number(value: float) -> int:
    """Return the hash that the scan computes for an int of 64 bits or a float."""
