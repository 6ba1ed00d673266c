def forget_counters() -> None:
    """Let the counters of all methods go: random names of tests would use up the places of a process."""
