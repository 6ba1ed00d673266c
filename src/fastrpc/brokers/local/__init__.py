"""The part of embedded brokers that decides, without input, output or a clock.

May import `brokers.base`, and nothing that uses an event loop.
"""
