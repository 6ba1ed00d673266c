class Answering:
    """One way to answer a request."""

class BareAnswering(Answering):
    """A way whose answer is one message, without a sign of life: nothing is noted, or checked, for it."""
