"""Recorded connections of rpcx v1.9.4, client and server (`tests/golden/rpcx.json`)."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.rpcx_wire import Frame, frames_in

__all__ = ["NOT_FRAMES", "Recorded", "recorded", "recorded_beside", "recordings"]

_FILE = Path(__file__).parent.parent / "golden" / "rpcx.json"

#: Recordings that are no frames, by the beginning of their names, with what becomes of them.
NOT_FRAMES = {
    "gateway_": "replayed by test_recorded_requests.py",
    "file_upload_data": "replayed with the call before it",
    "file_download_data": "replayed with the call before it",
    "jsonrpc_": "JSON-RPC is answered as its specification says, at its own path",
    "http_connect": "frames behind CONNECT are not offered",
    "websocket": "frames by WebSocket are not offered",
    "stream_data": "the stream service is not offered",
}


@dataclass(frozen=True)
class Recorded:
    """One connection."""

    name: str
    note: str
    from_client: bytes
    from_server: bytes
    decoded: Any

    @property
    def answers(self) -> list[Frame]:
        """What the server sent."""
        return frames_in(self.from_server)

    @property
    def is_by_hand(self) -> bool:
        """Whether the frames were made by hand, and sent by a raw socket."""
        saw = self.decoded.get("client_saw")
        return isinstance(saw, dict) and "after" in saw

    @property
    def closed_by_server(self) -> bool:
        return bool(self.decoded["closed_by"] == "server")


@cache
def _all() -> dict[str, Recorded]:
    return {
        case["name"]: Recorded(
            case["name"],
            case["note"],
            bytes.fromhex(case["client_to_server"]),
            bytes.fromhex(case["server_to_client"]),
            case["decoded"],
        )
        for case in json.loads(_FILE.read_text())["cases"]
    }


def recordings() -> dict[str, Recorded]:
    """Return all recordings of frames, by name."""
    return {name: one for name, one in _all().items() if not name.startswith((*NOT_FRAMES,))}


def recorded_beside(beginning: str) -> list[Recorded]:
    """Return the recordings that are no frames and whose names begin so."""
    return [one for name, one in _all().items() if name.startswith(beginning)]


def recorded(name: str) -> Recorded:
    return recordings()[name]
