"""The work that a server starts by itself: schedules and subscribers. `rpc/background/` has their marks.

The parts that run them, in `coordination` and `brokers`, rank above servers: the front door registers them.
"""
