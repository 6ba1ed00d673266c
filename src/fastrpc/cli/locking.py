"""`fastrpc lock`, `fastrpc elect` and `fastrpc leader`: locks and elections for programs in any language."""

import asyncio
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Final

import typer

from fastrpc.cli.calling.command import AsJson, run_async
from fastrpc.cli.command_group import CommandGroup
from fastrpc.cli.dial_options import Authorities, Certificate, Key, ServerName, TokenPath, dialing
from fastrpc.cli.opened import store_at
from fastrpc.cli.output import stdout
from fastrpc.cli.printing import print_json, print_note, reported
from fastrpc.coordination.locks import Holder, Lock
from fastrpc.coordination.store import Store
from fastrpc.errors import ConfigError
from fastrpc.gateway.dialing import Dialing
from fastrpc.workers.plan import ExitCode

__all__ = ["elect", "leader", "lock", "run_under"]

#: The variable for the token of the lock, in the environment of the command.
TOKEN_VARIABLE: Final = "FASTRPC_LOCK_TOKEN"  # noqa: S105

#: The time between SIGTERM and SIGKILL, as a share of the lease. A lease is valid for 0.9 of its time, so SIGKILL comes
#: before its end.
_KILL_SHARE: Final = 0.05

#: Signals that end the wait for a lock, or the command. SIGINT ends the wait without a handler.
_END_SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP)

StoreUrl = Annotated[
    str, typer.Argument(metavar="STORE", help="Such as store://127.0.0.1:8969.", show_default=False)
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Words joined by '/'.", show_default=False)]
Command = Annotated[
    list[str],
    typer.Argument(metavar="COMMAND…", help="The program and its arguments, after --.", show_default=False),
]
Seconds = Annotated[
    float, typer.Option("--ttl", help="Seconds after which another one may hold if this program dies.", min=1)
]


def lock(
    store: StoreUrl,
    name: Name,
    command: Command,
    ttl: Seconds = 15.0,
    wait: Annotated[
        float | None, typer.Option("--wait", help="Seconds to wait at most. [default: for ever]", min=0)
    ] = None,
    ca: Authorities = None,
    cert: Certificate = None,
    key: Key = None,
    server_name: ServerName = None,
    token_file: TokenPath = None,
) -> None:
    """Run a command while holding a lock; its exit code is the command's, or 1 if the lock is held or was lost.

    FASTRPC_LOCK_TOKEN has the token, which grows with each holder: pass it to everything that the command writes. When
    the lock is lost the command gets SIGTERM, and SIGKILL before another holder can get the lock.
    """
    dial = partial(dialing, ca, cert, key, server_name, token_file)
    _run(store, dial, lambda opened: opened.lock(name, ttl=ttl, wait=wait, value=_own_name()), command)


def elect(
    store: StoreUrl,
    name: Name,
    command: Command,
    value: Annotated[
        str | None,
        typer.Option(
            "--value", help="The text by which others see the leader. [default: the host and process]"
        ),
    ] = None,
    ttl: Seconds = 15.0,
    ca: Authorities = None,
    cert: Certificate = None,
    key: Key = None,
    server_name: ServerName = None,
    token_file: TokenPath = None,
) -> None:
    """Run a command once elected; its exit code is the command's, or 1 if it no longer leads.

    FASTRPC_LOCK_TOKEN is set, and the command is ended, as for `fastrpc lock`.
    """
    text = _own_name() if value is None else value
    dial = partial(dialing, ca, cert, key, server_name, token_file)
    _run(store, dial, lambda opened: opened.lead(name, text, ttl=ttl), command)


def leader(
    store: StoreUrl,
    name: Name,
    ca: Authorities = None,
    cert: Certificate = None,
    key: Key = None,
    server_name: ServerName = None,
    token_file: TokenPath = None,
    as_json: AsJson = False,
) -> None:
    """Print the leader of an election; exit code 1 if there is no leader."""
    with reported(ExitCode.USAGE):
        opened = store_at(dialing(ca, cert, key, server_name, token_file), store, makes=False)
    with reported(ExitCode.FAILED, as_json=as_json):
        found = run_async(_leader(opened, name))
    if as_json:
        print_json(
            None if found is None else {"value": found.value, "token": found.token, "waiting": found.waiting}
        )
    elif found is None:
        print_note(f"{name} has no leader")
    else:
        stdout.print(found.value)
    if found is None:
        raise typer.Exit(ExitCode.FAILED)


async def _leader(store: Store, name: str) -> Holder | None:
    async with store:
        return await store.leader(name)


def _own_name() -> str:
    return f"{os.uname().nodename}:{os.getpid()}"


def _run(
    url: str, dial: Callable[[], Dialing], make: Callable[[Store], Lock], command: Sequence[str]
) -> None:
    with reported(ExitCode.USAGE):
        if shutil.which(command[0]) is None:
            raise ConfigError(f"{command[0]!r} is not a program", hint="write it with its path, after --")
        opened = store_at(dial(), url, makes=True)

    with reported(ExitCode.FAILED):
        raise typer.Exit(run_async(_run_held(opened, make, command)))


async def _run_held(opened: Store, make: Callable[[Store], Lock], command: Sequence[str]) -> int:
    """Run a command once a lock is held. A signal ends the wait for the lock, with exit code 128 plus its number."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    ended_by: list[int] = []

    def leave(number: int) -> None:
        ended_by.append(number)
        if task is not None:
            task.cancel()

    for number in _END_SIGNALS:
        # A signal that is ignored, such as SIGHUP under nohup, stays ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, leave, number)
    try:
        async with opened as store, make(store) as held:
            return await run_under(held, command)
    except asyncio.CancelledError:
        if not ended_by:
            raise
        return 128 + ended_by[0]


async def run_under(held: Lock, command: Sequence[str]) -> int:
    """Run a command while a lock is held; return its exit code, or 128 plus the number of its signal.

    Raises:
        LockLostError: the lock was lost, and the command has been ended.
    """
    environment = {**os.environ, TOKEN_VARIABLE: str(held.token)}
    group, loop = CommandGroup(), asyncio.get_running_loop()
    for number in group.signals:
        loop.add_signal_handler(number, group.send, number)
    try:
        code = await group.run(command, environment, held)
    except asyncio.CancelledError:
        await group.end(_KILL_SHARE * held.lease.ttl)
        raise
    finally:
        for number in group.signals:
            loop.remove_signal_handler(number)
    return code if code >= 0 else 128 - code
