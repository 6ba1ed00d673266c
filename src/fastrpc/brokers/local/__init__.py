"""The decisions of embedded brokers, without I/O and without a clock.

May import `brokers.base`, and nothing that uses an event loop.
"""
