"""A fixed path of the HTTP gateway that keeps its requests."""

__all__ = ["Place"]


class Place:
    """The page at a fixed path: keeps each request."""

    verbs = ("POST",)
    needs_identity = False
    takes_messages = True
    content_types = ("text/plain",)

    def __init__(self) -> None:
        self.requests: list[tuple[object, bytes]] = []

    def takes(self, head: object) -> bool:
        return True

    def serve(self, connection: object, head: object, body: bytes, identity: object) -> None:
        self.requests.append((head, body))

    def take_message(self, connection: object, head: object, payload: bytes, identity: object) -> None:
        self.requests.append((head, payload))
