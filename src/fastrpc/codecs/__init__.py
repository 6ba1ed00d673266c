"""Values to payload and back: one file per codec, found through `base`.

A leaf: it knows errors and plain values, nothing of frames, calls or the network.
"""
