"""The state and the rules of embedded brokers, without I/O and without a clock.

This package may import `brokers.base`, but nothing that uses an event loop.
"""
