"""Authentication and authorisation of a server, and checks of their rules against its services."""

import asyncio
import logging
from collections.abc import Iterable

from fastrpc._core.calls.call import current_call
from fastrpc._core.server.access import Access
from fastrpc._core.server.gate import Gate
from fastrpc.auth.policy import Policy, Rules
from fastrpc.auth.verdict import BEARER
from fastrpc.errors import ConfigError
from fastrpc.handlers.auth.access_options import (
    Authenticate,
    Authorize,
    checked_authenticate,
    checked_authorize,
)
from fastrpc.handlers.auth.authentication import Authentication
from fastrpc.handlers.auth.own_credentials import OwnCredentials
from fastrpc.rpc.definition import MethodDefinition, ServiceDefinition

__all__ = ["ServerAccess"]

logger = logging.getLogger("fastrpc.audit")

#: The fraction of `Timeouts.handshake` in which a credential has to be verified.
VERDICT_SHARE = 0.8

#: Seconds between two checks for changed files.
LOOK_SECONDS = 1.0

_HINT = (
    "write authenticate=StaticTokens({…}), or another object of fastrpc.auth; fastrpc run takes --tokens FILE"
)


class ServerAccess:
    """Authentication and authorisation of the callers of one server. Either may be None.

    Raises:
        TypeError: one of the two has a wrong type.
    """

    def __init__(self, authenticate: Authenticate | None, authorize: Authorize | None) -> None:
        self._authenticate: Authenticate | None = checked_authenticate(authenticate)
        self._authorize: Authorize | None = checked_authorize(authorize)
        self._authentication: Authentication | None = None
        self._gate: Gate | None = None
        self._timer: asyncio.TimerHandle | None = None
        # The names of all methods (`_methods`) and of the public methods (`_public`), against which a changed policy is
        # checked.
        self._methods: tuple[str, ...] = ()
        self._public: frozenset[str] = frozenset()
        # The version of the policy that was checked last.
        self._compared = 0

    @property
    def schemes(self) -> tuple[str, ...]:
        """The schemes of credentials that the server announces."""
        return () if self._authenticate is None else (BEARER,)

    def guard(self, gate: Gate, seconds: float | None) -> None:
        """Authenticate and authorise the callers of a gate. `seconds` is the limit for a handshake."""
        self._gate = gate
        if self._authenticate is not None:
            # Frames after a credential are not read before it is verified, so the handshake may have to wait for that.
            most = None if seconds is None else VERDICT_SHARE * seconds
            self._authentication = Authentication(self._authenticate, self._authorize, seconds=most)
            self._authentication.engines = gate.engines
            gate.guards.require(
                Access(
                    self._authentication,
                    OwnCredentials(self._authentication),
                    self._authorize,
                    has_rules=isinstance(self._authorize, Rules),
                )
            )
            self._look_later()

    def check(self, services: Iterable[ServiceDefinition]) -> None:
        """Refuse invalid rules, and warn of rules without effect.

        Raises:
            ConfigError: roles or `authorize` are given without `authenticate`, or a policy names an unknown method.
        """
        methods = [method for service in services for method in service.methods.values()]
        if self._authenticate is None:
            if self._authorize is not None:
                raise ConfigError(
                    "authorize is given without authenticate: no caller would be allowed", hint=_HINT
                )
            for method in methods:
                if method.roles:
                    raise ConfigError(
                        f"{method.full_name} needs a role, but authenticate is not given: no caller has one",
                        hint=_HINT,
                    )
        self._methods = tuple(method.full_name for method in methods)
        self._public = frozenset(method.full_name for method in methods if method.public)
        if isinstance(self._authorize, Policy):
            self._compared = self._authorize.version
            found = self._authorize.check(self._methods, public=self._public)
            if found.errors:
                raise ConfigError(f"the policy: {'; '.join(found.errors)}")
            for warning in found.warnings:
                logger.warning("the policy: %s", warning)

    def may_call(self, method: MethodDefinition) -> bool:
        """Return whether the caller of the running handler may call a method."""
        gate = self._gate
        if gate is None or gate.guards.access is None:
            return True
        route = gate.routes.get(method.full_name)
        return route is not None and gate.guards.access.allows(current_call().identity, route)

    def reload(self) -> None:
        """Read the files of tokens and policies again now."""
        if self._authentication is not None:
            self._authentication.reload()
            if self._gate is not None and self._gate.guards.access is not None:
                # The new files apply to requests from now on. The running handler keeps its identity: connections are
                # checked later.
                self._gate.guards.access.look()
                self._gate.loop_state.loop.call_soon_threadsafe(self._look)

    def _look(self) -> None:
        """Apply changed files to every connection, even without a running call."""
        if self._gate is not None and self._gate.guards.access is not None:
            self._gate.guards.access.look()
            self._compare()
            self._gate.guards.access.renew(self._gate.engines)

    def _compare(self) -> None:
        """Warn of unknown names in a changed policy. They are no error, because other servers may share the file."""
        policy = self._authorize
        if isinstance(policy, Policy) and policy.version != self._compared:
            self._compared = policy.version
            found = policy.check(self._methods, public=self._public)
            for warning in (*found.errors, *found.warnings):
                logger.warning("the policy: %s", warning)

    def _look_later(self) -> None:
        if self._timer is not None:
            # A previous start of this server has left a timer.
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look_again)

    def _look_again(self) -> None:
        self._look_later()
        self._look()

    def close(self) -> None:
        """Cancel running verifications."""
        if self._timer is not None:
            self._timer.cancel()
        if self._authentication is not None:
            self._authentication.close()
