"""Recorded connections of rpcx v1.9.4, client and server (`tests/golden/rpcx.json`)."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.rpcx_wire import Frame, frames_in

__all__ = ["NOT_FRAMES", "Recorded", "recorded", "recordings"]

_FILE = Path(__file__).parent.parent / "golden" / "rpcx.json"

#: Recordings of other protocols of rpcx, by the beginning of their names.
NOT_FRAMES = (
    "jsonrpc_",
    "gateway_",
    "http_connect",
    "websocket",
    "file_upload_data",
    "file_download_data",
    "stream_data",
)


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
    def closed_by_server(self) -> bool:
        return bool(self.decoded["closed_by"] == "server")


@cache
def recordings() -> dict[str, Recorded]:
    """Return all recordings of frames, by name."""
    return {
        case["name"]: Recorded(
            case["name"],
            case["note"],
            bytes.fromhex(case["client_to_server"]),
            bytes.fromhex(case["server_to_client"]),
            case["decoded"],
        )
        for case in json.loads(_FILE.read_text())["cases"]
        if not case["name"].startswith(NOT_FRAMES)
    }


def recorded(name: str) -> Recorded:
    return recordings()[name]
