"""The parts that connections of one loop share: receive buffer, timers, turns, tasks that start at once, spinning."""
