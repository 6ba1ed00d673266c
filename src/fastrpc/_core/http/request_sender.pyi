from typing import final

@final
class RequestSender:
    """The sender of a request: identified by the head, before a long body is read."""
