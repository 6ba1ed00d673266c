from typing import final

from fastrpc._core.link.contract import Pushing
from fastrpc._core.rpcx.frames import Profile
from fastrpc._core.rpcx.framing import RpcxFraming
from fastrpc.config import Limits

@final
class RpcxWire(RpcxFraming):
    """The server's side of one connection.

    Args:
        limits: the bounds of a frame: `message_bytes` and `metadata_bytes`.
        derived: a protocol that is served here too, whose peers may come with this magic: errors have its key as well.
    """

    def __init__(self, profile: Profile, limits: Limits, derived: Profile | None = None) -> None: ...

@final
class RpcxPushes(Pushing):
    """Sends pushes to a client: one-way frames that its rpcx library hands to the program as server messages."""
