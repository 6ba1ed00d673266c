"""The attempts of one blocking call."""

import math
from collections.abc import Sequence
from typing import Any

from fastrpc._core.balancing.endpoint_set import Pick
from fastrpc._core.client.blocking_call import BlockingCall
from fastrpc._core.client.blocking_session import BlockingSession
from fastrpc.client.attempting import BaseAttempting
from fastrpc.client.blocking.pool import SyncPool
from fastrpc.client.blocking.subchannel import SyncSubchannel
from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import CallError, ConnectionLostError
from fastrpc.peers.batches import Batch
from fastrpc.status import Status

__all__ = ["SyncAttempting"]


class SyncAttempting(BaseAttempting):
    """The functions `pick` and `attempt` that a fail mode uses, for one blocking call; neither awaits anything."""

    _pool: SyncPool
    _call: BlockingCall

    async def prepare(self) -> None:
        """Apply the registry's latest list; wait for the first list."""
        self._pool.follow()
        if self.waits_for_list:
            call = self._call
            with self._connecting_for_call():
                self._pool.wait_list(call.method, call.deadline, wait=self._options.wait_for_ready)

    def pick(self) -> Endpoint:
        """Return the endpoint of the next attempt."""
        self._check()
        self._pool.catch_up()
        return super().pick()

    def _check(self) -> None:
        """Refuse an attempt in the child of a fork: the call began before the fork, and continues in the parent."""
        if self._pool.is_of_parent:
            self._note_fork()
        self._pool.check_process()

    def _note_fork(self) -> None:
        self._call._may_have_run = True

    async def _start(self, endpoint: Endpoint) -> tuple[BlockingCall, BlockingSession, Pick | None]:
        call, attempt = self._call, None
        running = self._options.running
        while attempt is None:
            # A connection may end just before the send; then the next connection is used.
            connection, pick = self._connection(endpoint)
            if running is not None and running.is_over:
                if pick is not None:
                    pick.dropped()
                raise CallError(Status.CANCELLED, f"{call.method} was cancelled", processed="no")
            try:
                # The attempt of a stream keeps the pick until its end.
                attempt = call._attempt_on(connection, self._number, pick)
            finally:
                # The pick is dropped here instead of in a destructor: a stored error keeps this frame alive, and so the
                # pick.
                if attempt is None and pick is not None:
                    pick.dropped()
        self._note_sent()
        if running is not None:
            running.add(attempt._cancel)
        return attempt, connection, pick

    async def _start_batch(self, batch: Batch) -> tuple[Batch, Pick | None]:
        is_begun = False
        while not is_begun:
            connection, pick = self._connection(self.pick())
            try:
                is_begun = batch.attempt_on(connection)
            finally:
                if not is_begun and pick is not None:
                    pick.dropped()
        return batch, pick

    async def _outcome(self, attempt: BlockingCall) -> Any:
        return attempt._finish()

    async def _outcomes(self, batch: Batch) -> list[Any]:
        return batch.finish()

    def _connection(self, endpoint: Endpoint) -> tuple[BlockingSession, Pick | None]:
        """Return a connection for the next attempt, and the pick that reports its outcome."""
        if self._pool.endpoint_set is None:
            return self._open_connection(), None
        pick = self._taken(endpoint)
        pinned = self._moved.get(endpoint, endpoint).address if pick is None else None
        choice = _Choice(self, pinned, pick)
        connection = self._open_connection(choice)
        if pinned is None and choice.pick is not None:
            self._went(endpoint, choice.pick)
        return connection, choice.pick

    def _open_connection(self, choice: "_Choice | None" = None) -> BlockingSession:
        call, pool, patience = self._call, self._pool, self.patience()
        wait = self._options.wait_for_ready
        with self._connecting_for_call():
            while True:
                try:
                    connection = pool.acquire(call.deadline, wait=wait, choice=choice, patience=patience)
                except ConnectionLostError:
                    self._note_fork()
                    raise
                ends = None if choice is None or connection.is_ready else choice.begin_key_wait()
                if ends is not None:
                    # A silent server delays calls of its keys only until `ends`: then the next endpoint is picked.
                    if connection.wait_ready(None if math.isinf(ends) else ends):
                        return connection
                    continue
                if choice is not None and choice.waits_for_key and not connection.is_ready:
                    # The wait for the key's endpoint is over, and the server may be silent: pick the next endpoint.
                    continue
                if not self._needs_ready or connection.wait_ready(call.deadline):
                    return connection


class _Choice:
    """The pick of an attempt that needs a connection. The pool, with its lock held, requests it after each change."""

    def __init__(self, attempting: SyncAttempting, pinned: Address | None, pick: Pick | None) -> None:
        self._attempting = attempting
        self._pinned = pinned
        self._picked = pick
        self.pick: Pick | None = None

    def subchannel(self) -> SyncSubchannel:
        """Return the picked subchannel. A pick that is no longer usable is dropped, and a new pick is made."""
        if self.pick is None or not self._stands(self.pick):
            self.drop()
            self.pick, self._picked = self._picked or self._place(), None
        subchannel: SyncSubchannel = self.pick.endpoint_state.subchannel
        return subchannel

    def _stands(self, pick: Pick) -> bool:
        subchannel: SyncSubchannel = pick.endpoint_state.subchannel
        if self.key_wait_ends is not None:
            return True
        return self._attempting.asks_once and subchannel.error is None and not subchannel.is_removed

    @property
    def key_wait_ends(self) -> float | None:
        """The instant until which the call waits only for its key's endpoint; None: it does not wait."""
        if self.pick is None or self.is_pinned:
            return None
        return self._attempting.key_wait_ends(self.pick.endpoint_state.subchannel)

    @property
    def waits_for_key(self) -> bool:
        """Whether the call waits for the endpoint of the pick although other endpoints are left."""
        return self.pick is not None and not self.is_pinned and self._attempting.waits_for_key(self.pick)

    def begin_key_wait(self) -> float | None:
        """Start to wait for the picked endpoint, if the call's key leads to it; return the end of the wait."""
        ends = self.key_wait_ends
        if ends is not None and self.pick is not None:
            self._attempting.note_key_pick(self.pick)
            subchannel: SyncSubchannel = self.pick.endpoint_state.subchannel
            self._attempting.begin_key_wait(subchannel)
            # The dial may be paused because an earlier dial was cut off or a connection besides this one has ended:
            # dial now.
            subchannel.due = 0.0
        return ends

    def release(self) -> None:
        """Drop a pick without a connection, unless it is still usable."""
        if self.pick is not None and not self._stands(self.pick):
            self.drop()

    def drop(self) -> None:
        """Drop the pick."""
        if self.pick is not None:
            self._attempting.forget_key_pick(self.pick)
            self.pick.dropped()
            self.pick = None

    def left_of(self, subchannels: Sequence[SyncSubchannel]) -> Sequence[SyncSubchannel]:
        """Return the subchannels that the attempt may wait for."""
        return self._attempting.candidates(subchannels)

    @property
    def is_pinned(self) -> bool:
        """Whether the attempt must go to one endpoint."""
        return self._pinned is not None

    def _place(self) -> Pick:
        return self._attempting.place(self._pinned)
