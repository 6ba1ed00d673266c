"""A stand-in for the apiserver of Kubernetes: lists and watches of EndpointSlices, as `discovery.k8s.io/v1` has them.

It counts versions, cuts lists into pages, sends bookmarks, ends watches, forgets old versions, and checks tokens and
rights. A test may have it refuse, or send its own bytes.
"""

import contextlib
import itertools
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

__all__ = ["NAMESPACE", "Apiserver", "pod", "slice_of", "status"]

NAMESPACE = "shop"
PATH = f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices"

#: Seconds after which a waiting watch looks whether it is over.
LOOK_SECONDS = 0.05


def pod(host: str, uid: str | None = None, **more: Any) -> dict[str, Any]:
    """Return an endpoint of a slice; `more` has its conditions, and other fields by their names in the API."""
    conditions = {name: more.pop(name) for name in ("ready", "serving", "terminating") if name in more}
    found: dict[str, Any] = {"addresses": [host], "conditions": conditions or {"ready": True}, **more}
    if uid is not None:
        found["targetRef"] = {"kind": "Pod", "namespace": NAMESPACE, "name": f"pod-{uid}", "uid": uid}
    return found


def slice_of(name: str, service: str, *pods: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a slice of a Service with the port 8972."""
    labels = {"kubernetes.io/service-name": service, **more.pop("labels", {})}
    return {
        "kind": "EndpointSlice",
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
        "addressType": "IPv4",
        "endpoints": list(pods),
        "ports": [{"name": "rpc", "port": 8972, "protocol": "TCP"}],
        **more,
    }


def status(code: int, reason: str, message: str) -> dict[str, Any]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
    }


def selects(selector: str, labels: dict[str, str]) -> bool:
    """Return whether a selector of equality or existence selects these labels."""
    name, equals, value = selector.partition("=")
    return not selector or (name in labels and (not equals or labels[name] == value))


class Apiserver:
    """Serves on loopback while its block lasts.

    Args:
        encrypt: wraps the listening socket; None serves plain HTTP.
    """

    def __init__(self, encrypt: Callable[[socket.socket], ssl.SSLSocket] | None = None) -> None:
        self._encrypt = encrypt
        self.token: str | None = None
        self.verbs = {"list", "watch"}
        #: How an old version is refused: by the status, or by an event.
        self.gone_as = "event"
        #: Slices of a page, even if the request allows more.
        self.page_slices = 500
        self.bookmark_seconds = 60.0
        #: The query of each request, and its authorization.
        self.queries: list[dict[str, str]] = []
        self.tokens: list[str] = []
        #: Answers that come next instead of the right ones: bytes of a whole answer.
        self.instead: list[bytes] = []
        self.slices: dict[str, dict[str, Any]] = {}
        self.version = 1000
        self._events: list[tuple[int, str, dict[str, Any]]] = []
        self._oldest = self.version
        self._lists: dict[str, list[dict[str, Any]]] = {}
        self._numbers = itertools.count(1)
        self._changed = threading.Condition()
        self._is_over = False
        #: Counts how often all watches were ended, and cut.
        self._ended = self.cuts = 0

    @property
    def url(self) -> str:
        return f"{'http' if self._encrypt is None else 'https'}://127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])

    @property
    def lists(self) -> int:
        return sum("watch" not in one and "continue" not in one for one in self.queries)

    @property
    def watches(self) -> int:
        return sum("watch" in one for one in self.queries)

    def put(self, *slices: dict[str, Any]) -> None:
        """Create or update slices, each with a separate version."""
        with self._changed:
            for one in slices:
                kind = "MODIFIED" if one["metadata"]["name"] in self.slices else "ADDED"
                self._note(kind, one)
                self.slices[one["metadata"]["name"]] = self._events[-1][2]
            self._changed.notify_all()

    def delete(self, name: str) -> None:
        with self._changed:
            self._note("DELETED", self.slices.pop(name))
            self._changed.notify_all()

    def send(self, kind: str, content: dict[str, Any]) -> None:
        """Send an event about another object than a slice."""
        with self._changed:
            self._events.append((self.version, kind, content))
            self._changed.notify_all()

    def forget(self) -> None:
        """Forget all versions but the present one, and the pages of lists: `compaction`."""
        with self._changed:
            self._oldest = self.version
            self._lists.clear()

    def end_watches(self) -> None:
        """End all watches, as at their timeout."""
        with self._changed:
            self._ended += 1
            self._changed.notify_all()

    def cut_watches(self) -> None:
        """Cut the connections of all watches in the middle of a line."""
        self.cuts += 1
        self.end_watches()

    def _note(self, kind: str, one: dict[str, Any]) -> None:
        self.version += 1
        changed = {**one, "metadata": {**one["metadata"], "resourceVersion": str(self.version)}}
        self._events.append((self.version, kind, changed))

    def page(self, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """Return status and content of a page of a list."""
        with self._changed:
            token = query.get("continue")
            if token is None:
                version = str(self.version)
                left = [one for one in self.slices.values() if self._selects(query, one)]
            elif token in self._lists:
                version, left = token.split("-")[0], self._lists.pop(token)
            else:
                return 410, status(410, "Expired", "The provided continue parameter is too old")
            size = min(self.page_slices, int(query.get("limit", "500")))
            metadata = {"resourceVersion": version}
            if left[size:]:
                metadata["continue"] = f"{version}-{next(self._numbers)}"
                self._lists[metadata["continue"]] = left[size:]
            return 200, {"kind": "EndpointSliceList", "metadata": metadata, "items": left[:size]}

    @staticmethod
    def _selects(query: dict[str, str], one: dict[str, Any]) -> bool:
        return selects(query.get("labelSelector", ""), one["metadata"]["labels"])

    def watch(self, query: dict[str, str]) -> Iterator[dict[str, Any]]:
        """Yield the events of a watch until its end."""
        since, ends = int(query["resourceVersion"]), time.monotonic() + int(query["timeoutSeconds"])
        if since < self._oldest:
            gone = status(410, "Expired", f"too old resource version: {since} ({self._oldest})")
            yield {"type": "ERROR", "object": gone}
            return
        ended, bookmark_at = self._ended, time.monotonic() + self.bookmark_seconds
        position = next(
            (number for number, one in enumerate(self._events) if one[0] > since), len(self._events)
        )
        while not self._is_over and self._ended == ended and time.monotonic() < ends:
            with self._changed:
                if position >= len(self._events):
                    self._changed.wait(LOOK_SECONDS)
                found, position = self._events[position:], len(self._events)
            for _, kind, content in found:
                if kind not in ("ADDED", "MODIFIED", "DELETED") or self._selects(query, content):
                    yield {"type": kind, "object": content}
            if time.monotonic() >= bookmark_at:
                bookmark_at += self.bookmark_seconds
                metadata = {"resourceVersion": str(self.version)}
                yield {"type": "BOOKMARK", "object": {"kind": "EndpointSlice", "metadata": metadata}}

    def __enter__(self) -> Self:
        outer = self

        class Handler(_Handler):
            apiserver = outer

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if self._encrypt is not None:
            self.server.socket = self._encrypt(self.server.socket)
        self._thread = threading.Thread(target=self.server.serve_forever, args=(LOOK_SECONDS,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_over = True
        self.end_watches()
        self.server.shutdown()
        self.server.server_close()
        self._thread.join(10)


class _Handler(BaseHTTPRequestHandler):
    apiserver: Apiserver
    protocol_version = "HTTP/1.1"
    #: Seconds for which a kept connection may be silent; closing the server waits for its threads.
    timeout = 1.0

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        served, parts = self.apiserver, urlsplit(self.path)
        query = {name: value for name, (value,) in parse_qs(parts.query).items()}
        served.queries.append(query)
        served.tokens.append(self.headers.get("Authorization", ""))
        verb = "watch" if query.get("watch") == "true" else "list"
        if served.instead:
            self.wfile.write(served.instead.pop(0))
            self.close_connection = True
        elif served.token is not None and served.tokens[-1] != f"Bearer {served.token}":
            self._answer(401, status(401, "Unauthorized", "Unauthorized"))
        elif parts.path != PATH or verb not in served.verbs:
            refusal = f'endpointslices.discovery.k8s.io is forbidden: cannot {verb} resource "endpointslices"'
            self._answer(403, status(403, "Forbidden", refusal))
        elif verb == "list":
            self._answer(*served.page(query))
        else:
            self._watch(query)

    def _answer(self, code: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode() + b"\n"
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _watch(self, query: dict[str, str]) -> None:
        events, cuts = self.apiserver.watch(query), self.apiserver.cuts
        if self.apiserver.gone_as == "status" and int(query["resourceVersion"]) < self.apiserver._oldest:
            self._answer(410, next(events)["object"])
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with contextlib.suppress(OSError):
            for event in events:
                text = json.dumps(event).encode() + b"\n"
                self.wfile.write(f"{len(text):x}\r\n".encode() + text + b"\r\n")
            if self.apiserver.cuts > cuts:
                self.wfile.write(b'9\r\n{"type":')
                self.close_connection = True
            else:
                self.wfile.write(b"0\r\n\r\n")
