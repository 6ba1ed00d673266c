"""Payload to smaller payload and back, bounded: one file per compressor, found through `base`.

A leaf: it knows errors and bytes, nothing of frames, calls or the network.
"""
