"""Recorded connections of rpcx v1.9.4 and of Phobos, client and server (`tests/golden/rpcx.json`, `phobos.json`)."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.rpcx_wire import MAGIC, Frame, WireError, frames_in

__all__ = [
    "NOT_FRAMES",
    "PHOBOS_NOT_FRAMES",
    "Recorded",
    "assert_alike",
    "recorded",
    "recorded_beside",
    "recordings",
]

_FOLDER = Path(__file__).parent.parent / "golden"

#: Recordings that are no frames, by the beginning of their names: where they are replayed, or why they are not.
NOT_FRAMES = {
    "gateway_": "replayed by test_recorded_requests.py",
    "file_upload_data": "replayed with the call before it",
    "file_download_data": "replayed with the call before it",
    "jsonrpc_": "JSON-RPC is answered as its specification says, at its own path",
    "http_connect": "frames behind CONNECT are not offered",
    "websocket": "frames by WebSocket are not offered",
    "stream_data": "the stream service is not offered",
}

#: The same of Phobos.
PHOBOS_NOT_FRAMES = {
    "gateway_": "replayed by test_recorded_requests.py, and its frames by test_phobos_clients.py",
    "http_connect": "frames behind CONNECT are not offered",
}

_NOT_FRAMES = {"rpcx": NOT_FRAMES, "phobos": PHOBOS_NOT_FRAMES}


@dataclass(frozen=True)
class Recorded:
    """One connection."""

    name: str
    note: str
    from_client: bytes
    from_server: bytes
    decoded: Any
    protocol: str = "rpcx"

    @property
    def requests(self) -> list[Frame]:
        """The client's frames."""
        return frames_in(self.from_client, self._magic)

    @property
    def answers(self) -> list[Frame]:
        """The server's frames."""
        return frames_in(self.from_server, self._magic)

    def answers_by_sequence(self) -> dict[int, bytes]:
        """Return the bytes that answer each request; bytes for no frame answer the first."""
        try:
            answers = self.answers
        except WireError:
            return {self.requests[0].sequence: self.from_server}
        known = {frame.sequence for frame in self.requests}
        found: dict[int, bytes] = {}
        for frame in answers:
            # One that nobody waits for comes before the first.
            at = frame.sequence if frame.sequence in known else self.requests[0].sequence
            found[at] = found.get(at, b"") + frame.encode(frame.magic)
        return found

    @property
    def _magic(self) -> int | None:
        """The first byte of its frames, None: any."""
        return MAGIC if self.protocol == "rpcx" else None

    @property
    def is_by_hand(self) -> bool:
        """Whether the frames were made by hand, and sent by a raw socket."""
        saw = self.decoded.get("client_saw")
        return isinstance(saw, dict) and "after" in saw

    @property
    def closed_by_server(self) -> bool:
        return bool(self.decoded["closed_by"] == "server")


@cache
def _all(protocol: str) -> dict[str, Recorded]:
    return {
        case["name"]: Recorded(
            case["name"],
            case["note"],
            bytes.fromhex(case["client_to_server"]),
            bytes.fromhex(case["server_to_client"]),
            case["decoded"],
            protocol,
        )
        for case in json.loads((_FOLDER / f"{protocol}.json").read_text())["cases"]
    }


def recordings(protocol: str = "rpcx") -> dict[str, Recorded]:
    """Return all recordings of frames, by name."""
    beginnings = (*_NOT_FRAMES[protocol],)
    return {name: one for name, one in _all(protocol).items() if not name.startswith(beginnings)}


def recorded_beside(beginning: str, protocol: str = "rpcx") -> list[Recorded]:
    """Return the recordings that are no frames and whose names begin so."""
    return [one for name, one in _all(protocol).items() if name.startswith(beginning)]


def recorded(name: str, protocol: str = "rpcx") -> Recorded:
    return recordings(protocol)[name]


def assert_alike(answer: Frame, expected: Frame, *, protocol: str = "rpcx", has_own_text: bool) -> None:
    """Compare an answer of ours with a recorded one; texts of errors only where they are defined."""
    error_key = f"__{protocol}_error__"
    parts = ("path", "method", "serialize", "response", "heartbeat", "one_way", "version", "low_nibble")
    for part in (*parts, "compress", "status"):
        assert getattr(answer, part) == getattr(expected, part), part
    is_error = expected.status == 1 and error_key in expected.metadata
    metadata = {
        key: value for key, value in answer.metadata.items() if not (is_error and key.startswith("frpc-"))
    }
    if is_error and not has_own_text:
        assert answer.error
        metadata[error_key] = expected.metadata[error_key]
    assert metadata == expected.metadata
    if expected.heartbeat:
        assert answer.payload == expected.payload
    elif not is_error:
        # Go sends the zero value of the result with an error, which its own client drops.
        assert answer.value() == expected.value()
