"""Work that a server starts by itself: schedules and subscribers. `rpc/background/` has the marks for both.

The parts that run this work, in `coordination` and `brokers`, are in higher layers than servers: the front door
registers them.
"""
