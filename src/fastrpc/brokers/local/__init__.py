"""The part of embedded brokers that decides, without input, output or a clock.

It may import `brokers.base` and nothing that knows an event loop.
"""
