"""Compressors, with bounded decompression: one file per compressor, found through `base`.

A leaf package: it depends on errors and bytes, not on frames, calls or the network.
"""
