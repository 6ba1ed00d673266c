"""The part that the brokers `memory` and `sqlite` share: it decides, without input, output or a clock.

It may import `brokers.base` and nothing that knows an event loop.
"""
