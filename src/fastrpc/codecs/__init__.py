"""Codecs encode values to payload and back: one file per codec, found through `base`.

A leaf package: it depends on errors and plain values, not on frames, calls or the network.
"""
