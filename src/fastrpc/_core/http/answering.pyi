class Answering:
    """One way to answer a request."""

class BareAnswering(Answering):
    """An answering with a single message and no signs of life: nothing is noted or checked for it."""
