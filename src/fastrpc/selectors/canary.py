"""A part of the calls to other endpoints, such as endpoints of a new version."""

from collections.abc import Mapping

from fastrpc._core.balancing.selectors import BaseSelector
from fastrpc._core.balancing.wrapping_selectors import CanarySelector
from fastrpc.selectors.base import Filter, check_entries, inner_selector

__all__ = ["Canary"]


class Canary(CanarySelector):
    """Send a part of the calls to the endpoints that a filter keeps, and the other calls to the other endpoints.

    If no endpoint of a side can take calls, or all were tried for this call, the other side gets it. `percent` may be
    set while it runs.

    Args:
        inner: picks on both sides, by name or as an object of `fastrpc.selectors` with its filters.
        to: the filter of the canary, such as `version(">=2")`.
        percent: the share of the calls that go to the canary.
        by: the metadata entry whose hash decides, so that a user stays on one side; None, and calls without it: chance.
        when: pairs of metadata; a call with one of them goes to the canary.

    Raises:
        ConfigError: an argument cannot be used, such as a key of metadata that no call can have.
    """

    __slots__ = ()

    def __init__(
        self,
        inner: BaseSelector | str = "round_robin",
        *,
        to: Filter,
        percent: float = 0,
        by: str | None = None,
        when: Mapping[str, str] | None = None,
    ) -> None:
        stable = inner_selector(inner)
        pairs = dict(when) if isinstance(when, Mapping) else when
        check_entries(by, pairs)
        super().__init__(stable, stable.claimed(), to=to, percent=percent, by=by, when=pairs)
