class Answering:
    """One way to answer a request."""

class BareAnswering(Answering):
    """A base for answers with one message: it sends no signs of life, and notes and checks nothing."""
