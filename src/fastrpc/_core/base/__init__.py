"""The building blocks: bytes, queues, timers, counters, locks. Depends on no frame and no call."""
