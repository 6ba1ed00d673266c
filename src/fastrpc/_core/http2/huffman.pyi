"""The Huffman code of HPACK; compiled code alone uses it."""
