"""What all connections of one event loop share: receive buffer, timers, turns, tasks that start at once, spinning."""
