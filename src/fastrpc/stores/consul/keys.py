"""The requests of a store to an agent of Consul: keys, transactions, sessions."""

import base64
import re
import secrets
from collections.abc import Collection, Sequence
from typing import Any, Final

import msgspec

from fastrpc.bounded_http import HttpError
from fastrpc.errors import StoreError
from fastrpc.registries.consul.agent import Agent, Index, typed
from fastrpc.status import Status
from fastrpc.stores.base import Deletion, Item, ItemPage, Transacted, Unchanged, Write
from fastrpc.stores.remote import KeyPrefix, ended_lease

__all__ = ["ConsulKeys"]

#: The HTTP status of a transaction that Consul has not executed.
_NOT_DONE: Final = 409

#: Most attempts at a transaction whose keys are changed by others at the same time.
_TRIES: Final = 100

#: Keys that are read in one request. Even with the longest values of Consul, 512 KiB each, the answer is not too large.
_READ_KEYS: Final = 16

_SESSION: Final = re.compile(r"[0-9A-Za-z-]{1,64}")


class _Pair(msgspec.Struct, rename="pascal"):
    """A key and its value. The value is None in the outcome of a write or a condition."""

    key: str
    create_index: int
    modify_index: int
    value: bytes | None = None
    session: str | None = None


class _Failure(msgspec.Struct, rename="pascal"):
    op_index: int = 0
    what: str = ""


class _Outcome(msgspec.Struct, rename="pascal"):
    #: The results; each is a pair under the name "KV".
    results: list[dict[str, _Pair]] | None = None
    errors: list[_Failure] | None = None


class ConsulKeys:
    """The requests for keys and sessions. They block, and one thread makes them."""

    def __init__(self, agent: Agent, base: KeyPrefix) -> None:
        self._agent = agent
        self._base = base

    def close(self) -> None:
        self._agent.close()

    def version(self) -> str:
        """Return the agent's version; "" if the token may not read it."""
        try:
            with self._agent.errors():
                return str(self._agent.client.agent.self()["Config"]["Version"])
        except StoreError as error:
            if error.status is not Status.PERMISSION_DENIED:
                raise
            return ""

    def read(
        self, watched: str, index: Index, *, stale: bool = False, wait_seconds: float = 0.0
    ) -> dict[str, Item[bytes]]:
        """Return the item of a key or all items of a prefix; store the index of the answer in `noted`."""
        is_prefix = watched.endswith("/") or not watched
        found = self._get(watched, index, stale, recurse=is_prefix, **index.options(wait_seconds))
        with self._agent.errors():
            # For a missing key, whose status is 404, `found` is None.
            pairs = typed(found if is_prefix or found is None else [found], list[_Pair] | None) or []
        items = (self._item(pair) for pair in pairs)
        return {item.key: item for item in items if item is not None}

    def page(
        self, prefix: str, index: Index, limit: int, after: str, *, stale: bool
    ) -> tuple[ItemPage, dict[str, int | None]]:
        """Return the first items of a prefix after a key, and all keys of the prefix with the revisions that are known.

        The keys are read first, as the values may be long.
        """
        # A missing key has the index of the whole store, while a prefix has the index of its last change.
        whole = Index()
        if self._base.outer(prefix):
            self._get(prefix, whole, stale)
        found = self._get(prefix, index, stale, keys=True)
        with self._agent.errors():
            names = [self._base.inner(name) for name in typed(found, list[str] | None) or []]
        known: dict[str, int | None] = dict.fromkeys(name for name in names if name is not None)
        chosen = [name for name in known if name > after]
        if len(chosen) <= limit and not after:
            items = self.read(prefix, index, stale=stale)
            known = {key: item.revision for key, item in items.items()}
        else:
            items = self._read_keys(chosen[:limit], stale=stale)
        is_cut = max(len(chosen), len(items)) > limit
        revision = max(whole.latest, index.latest)
        return ItemPage(tuple(items.values())[:limit], revision, is_cut), known

    def _read_keys(
        self, keys: Sequence[str], absent: Collection[str] = (), *, stale: bool = False
    ) -> dict[str, Item[bytes]]:
        """Return the items of keys, read in one transaction if the token may write the absent keys.

        Args:
            absent: the keys that are expected to be missing.
        """
        items: dict[str, Item[bytes]] = {}
        for start in range(0, len(keys), _READ_KEYS):
            items |= self._read_moment(keys[start : start + _READ_KEYS], set(absent), stale=stale)
        return items

    def _read_moment(self, keys: Sequence[str], absent: set[str], *, stale: bool) -> dict[str, Item[bytes]]:
        for _ in range(_TRIES):
            # Use "check-not-exists" for missing keys, for which "get" fails. Consul reports each failed operation.
            operations = [
                {"Verb": "check-not-exists" if key in absent else "get", "Key": self._base.outer(key)}
                for key in keys
            ]
            outcome = self._done(operations, stale=stale)
            if not outcome.errors:
                break
            if _is_denial(outcome.errors[0].what):
                # Read each key separately: the right to read does not cover `check-not-exists`.
                return self._read_each(keys, stale=stale)
            failed = {failure.op_index for failure in outcome.errors}
            absent ^= {key for number, key in enumerate(keys) if number in failed}
        else:
            raise StoreError("Consul: other programs change the keys all the time")
        items = (self._item(one["KV"]) for one in outcome.results or ())
        found = {item.key: item for item in items if item is not None}
        if len(found) + len(absent & {*keys}) < len(keys):
            # Consul silently leaves out keys that the token may not read.
            self._check_permission("Permission denied")
        return found

    def _read_each(self, keys: Sequence[str], *, stale: bool) -> dict[str, Item[bytes]]:
        items: dict[str, Item[bytes]] = {}
        for key in keys:
            items |= self.read(key, Index(), stale=stale)
        return items

    def _get(self, key: str, noted: Index, stale: bool, **options: Any) -> Any:
        """Return an answer of the key-value store; store its index in `noted`."""
        with self._agent.errors():
            latest, found = self._agent.client.kv.get(
                self._base.outer(key), consistency="stale" if stale else "consistent", **options
            )
            noted.note(latest)
        return found

    def transact(self, when: Sequence[Unchanged], do: Sequence[Write | Deletion]) -> tuple[Transacted, int]:
        """Execute a transaction; return the outcome and the number of deleted keys.

        The keys are read first. Each operation has the condition that its key is unchanged, since the operation depends
        on the present lease of the key.
        """
        failure, index = "", Index()
        for _ in range(_TRIES):
            present = self._present(when, do, index)
            items = tuple(present[step.key] for step in when)
            revisions = [0 if item is None else item.revision for item in items]
            latest, is_met = max([index.latest, *revisions]), revisions == [step.revision for step in when]
            if when and not latest and not (is_met and do):
                # If all keys are absent, there is no revision: read the revision of the store, then the keys again.
                self.read(when[0].key, index)
                continue
            if not is_met:
                return Transacted(False, latest, items), 0
            operations = [self._condition(step) for step in _conditions(when, do, present)]
            operations += [part for step in do for part in self._operations(step, present[step.key])]
            outcome = self._done(operations) if operations else _Outcome()
            if not outcome.errors:
                deleted = sum(operation["Verb"] == "delete-cas" for operation in operations)
                return Transacted(True, self._revision(outcome, latest, do)), deleted
            failure = outcome.errors[0].what
            self._check_refusal(failure, do)
        raise StoreError(f"Consul did not execute a transaction: {HttpError(failure)}", processed="no")

    def open_session(self, seconds: float) -> str:
        # Without checks: a failed check of the node would end the session early.
        options = {"behavior": "delete", "ttl": seconds, "lock_delay": 0, "checks": []}
        with self._agent.errors():
            return str(typed(self._agent.client.session.create(**options), str))

    def renew_session(self, lease: str) -> bool:
        if not _SESSION.fullmatch(lease):
            return False
        try:
            with self._agent.errors():
                self._agent.client.session.renew(lease)
        except StoreError as error:
            if isinstance(error.__cause__, self._agent.not_found):
                return False
            raise
        return True

    def end_session(self, lease: str) -> bool:
        was_alive = self._is_alive(lease)
        if was_alive:
            with self._agent.errors():
                self._agent.client.session.destroy(lease)
        return was_alive

    def _is_alive(self, lease: str) -> bool:
        if not _SESSION.fullmatch(lease):
            return False
        with self._agent.errors():
            _, found = self._agent.client.session.info(lease, consistency="consistent")
        return found is not None

    def _done(self, operations: list[dict[str, Any]], *, stale: bool = False) -> _Outcome:
        """Execute all operations or none; if none, the outcome has errors. `stale` is only for reads."""
        from consul.callback import CB

        def answer(response: Any) -> Any:
            return CB.json()(response._replace(code=200) if response.code == _NOT_DONE else response)

        data = msgspec.json.encode([{"KV": operation} for operation in operations])
        with self._agent.errors():
            params = [("stale" if stale else "consistent", "1")]
            done = self._agent.client.http.put(answer, "/v1/txn", params, data)
            found: _Outcome = typed(done, _Outcome)
        return found

    def _present(
        self, when: Sequence[Unchanged], do: Sequence[Write | Deletion], index: Index
    ) -> dict[str, Item[bytes] | None]:
        """Return the present items of a transaction's keys. If there is only one key, store its index in `index`."""
        keys = list(dict.fromkeys(step.key for step in (*when, *do)))
        absent = {step.key for step in when if not step.revision}
        try:
            found = self.read(keys[0], index) if len(keys) == 1 else self._read_keys(keys, absent)
        except StoreError as error:
            error.processed = "no"
            raise
        return {key: found.get(key) for key in keys}

    def _condition(self, step: Unchanged) -> dict[str, Any]:
        key = {"Key": self._base.outer(step.key)}
        if not step.revision:
            return key | {"Verb": "check-not-exists"}
        return key | {"Verb": "check-index", "Index": step.revision}

    def _operations(self, step: Write | Deletion, present: Item[bytes] | None) -> list[dict[str, Any]]:
        """Return the Consul operations of a step. They fail if the revision or the lease of the item has changed."""
        key = {"Key": self._base.outer(step.key)}
        revision, lease = (0, None) if present is None else (present.revision, present.lease)
        if isinstance(step, Deletion):
            return [key | {"Verb": "delete-cas", "Index": revision}] if revision else []
        # Random flags make every write a change: Consul ignores a write of the same value and flags.
        written = key | {"Value": base64.b64encode(step.value).decode(), "Flags": secrets.randbits(32)}
        unlock = {"Verb": "unlock", "Session": lease}
        if step.lease is None:
            return [written | (unlock if lease else {"Verb": "cas", "Index": revision})]
        lock = written | {"Verb": "lock", "Session": step.lease}
        return [key | unlock, lock] if lease not in (None, step.lease) else [lock]

    def _revision(self, outcome: _Outcome, latest: int, do: Sequence[Write | Deletion]) -> int:
        """Return the revision of a transaction. Consul reports none for deletions, so it may have to be read."""
        if do and not any(isinstance(step, Write) for step in do):
            index = Index()
            self.read(do[0].key, index)
            return index.latest
        return max([one["KV"].modify_index for one in outcome.results or ()], default=latest)

    def _check_refusal(self, failure: str, do: Sequence[Write | Deletion]) -> None:
        self._check_permission(failure)
        for step in do:
            if isinstance(step, Write) and step.lease is not None and not self._is_alive(step.lease):
                raise ended_lease(step.lease)

    def _check_permission(self, failure: str) -> None:
        if _is_denial(failure):
            text = f"Consul refuses a transaction: {HttpError(failure)}"
            raise StoreError(text, status=Status.PERMISSION_DENIED, processed="no")

    def _item(self, pair: _Pair) -> Item[bytes] | None:
        """Return a key as an item, or None for a key of another program that is invalid here."""
        key = self._base.inner(pair.key)
        return (
            None
            if key is None
            else Item(key, pair.value or b"", pair.modify_index, pair.session or None, pair.create_index)
        )


def _is_denial(failure: str) -> bool:
    return "permission denied" in failure.lower()


def _conditions(
    when: Sequence[Unchanged], do: Sequence[Write | Deletion], present: dict[str, Item[bytes] | None]
) -> list[Unchanged]:
    """Return the conditions, plus one for each deletion: Consul reports success even if the key was gone or new."""
    found = {step.key: present[step.key] for step in do if isinstance(step, Deletion)}
    added = (Unchanged(key, item.revision if item else 0) for key, item in found.items())
    return [*when, *(one for one in added if bool(one.revision) is (len(when) + len(do) == 1))]
