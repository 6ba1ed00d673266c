"""A small DNS server: answers from a table that a test changes."""

import socket
import threading
from types import TracebackType
from typing import Self

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

__all__ = ["DnsServer"]


class DnsServer:
    """Answers over UDP at a separate port inside a `with` block."""

    def __init__(self) -> None:
        self._records: dict[tuple[str, str], tuple[int, list[str]]] = {}
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.port = 0
        #: Answers SERVFAIL while it is set.
        self.is_failing = False
        #: Kinds of record; the next question for each gets lost.
        self.loses: set[str] = set()
        #: How often each kind of record was asked for.
        self.questions: dict[str, int] = {}

    def set(self, name: str, kind: str, *texts: str, ttl: int = 1) -> None:
        """Replace the records of a kind that a name has."""
        self._records[f"{name}.", kind] = (ttl, list(texts))

    def target(self, name: str, port: int) -> str:
        """Return the target by which a client calls the servers with this name."""
        return f"{self.url}/{name}:{port}"

    @property
    def url(self) -> str:
        return f"dns://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join(10)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            data, sender = self._socket.recvfrom(4096)
            if not data:
                return
            query = dns.message.from_wire(data)
            kind = dns.rdatatype.to_text(query.question[0].rdtype)
            if kind in self.loses:
                self.loses.remove(kind)
            else:
                self._socket.sendto(self._answer(query).to_wire(), sender)

    def _answer(self, query: dns.message.Message) -> dns.message.Message:
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        question = query.question[0]
        name, kind = question.name.to_text().lower(), dns.rdatatype.to_text(question.rdtype)
        self.questions[kind] = self.questions.get(kind, 0) + 1
        if self.is_failing:
            response.set_rcode(dns.rcode.SERVFAIL)
        elif (name, kind) in self._records and self._records[name, kind][1]:
            ttl, texts = self._records[name, kind]
            response.answer.append(dns.rrset.from_text(name, ttl, "IN", kind, *texts))
        elif not any(known == name for known, _ in self._records):
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response
