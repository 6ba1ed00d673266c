"""What everything else is made of: bytes, queues, timers, counters, locks. Knows no frame and no call."""
