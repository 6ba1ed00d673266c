class Timed:
    """Carries its own timer, so that starting and stopping one allocates nothing."""
