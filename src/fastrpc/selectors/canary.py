"""Canary releases: a part of the calls goes to other endpoints, for example to a new version."""

from collections.abc import Mapping

from fastrpc._core.balancing.selectors import BaseSelector
from fastrpc._core.balancing.wrapping_selectors import CanarySelector
from fastrpc.selectors.base import Filter, check_entries, inner_selector

__all__ = ["Canary"]


class Canary(CanarySelector):
    """Send a part of the calls to the endpoints that a filter keeps, and all other calls to the remaining endpoints.

    If a side has no endpoint that can take the call, or all were tried for it, the other side gets the call. `percent`
    may be changed at any time.

    Args:
        inner: the selector of both sides, as a name or an object of `fastrpc.selectors` with its filters.
        to: the filter of the canary, such as `version(">=2")`.
        percent: the share of the calls that go to the canary.
        by: the metadata entry whose hash decides, so that a user stays on one side. None, or a call without the entry:
            random.
        when: metadata entries; a call with one of these entries goes to the canary.

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
