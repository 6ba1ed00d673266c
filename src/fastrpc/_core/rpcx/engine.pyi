from fastrpc._core.io.engine import Engine
from fastrpc._core.rpcx.frames import Profile

class RpcxEngine(Engine):
    """The frames of one connection."""

    @property
    def profile(self) -> Profile: ...
    @property
    def ignores_input(self) -> bool:
        """Whether nothing more is taken."""
    @property
    def frame_began_ns(self) -> int:
        """When the incomplete frame began, or 0."""

    def close(self, reason: int = 0, text: str = "") -> None:
        """Close once all output is sent; the protocol has no word of goodbye."""
