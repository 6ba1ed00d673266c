def encode_huffman(data: bytes) -> bytes:
    """Return the Huffman code of these bytes, padded to whole bytes."""

def decode_huffman(data: bytes) -> bytes | None:
    """Return the bytes that a Huffman code stands for; None if its padding is wrong or EOS is in it."""
