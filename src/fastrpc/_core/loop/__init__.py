"""Parts that the connections of one loop share: receive buffer, timers, turns, immediately started tasks, spinning."""
