"""An interpreter that has imported the package and forks a program when it is asked to; `warm_process` starts it.

It is run as a script and imports nothing of `tests`. A request has its working directory, environment and arguments as
JSON, and four descriptors: standard input, output and error of the program, and a socket for the process id and later
the exit code. The program is killed when the other end of that socket is closed.
"""

import atexit
import contextlib
import fcntl
import gc
import importlib
import inspect
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
import types
from pathlib import Path
from typing import Any

#: Modules that most programs of tests import. typer shows help and mistakes with the modules of `rich`, and loads the
#: last modules for arguments, where they exist.
MODULES = (
    "asyncio",
    "uvloop",
    "msgpack",
    "fastrpc",
    *(
        f"fastrpc.cli.{name}"
        for name in (
            "application",
            "benchmark.command",
            "calling.command",
            "checking",
            "contracts.command",
            "copying",
        )
    ),
    *(f"fastrpc.cli.{name}" for name in ("listing", "registering", "serving")),
    "fastrpc.coordination",
    "fastrpc.workers.supervisor",
    "fastrpc.workers.announcer",
    "fastrpc.cli.main",
    "fastrpc.codecs.msgpack",
    "fastrpc.protocols.native",
    "encodings.idna",
    "importlib.metadata",
    *(f"rich.{name}" for name in ("columns", "console", "markdown", "panel", "syntax", "table", "traceback")),
    "typer._adapters",
    "typer._click.decorators",
    "pydantic.main",
    "pydantic.plugin._loader",
)

#: More than a request has.
REQUEST_BYTES = 2**20

#: Most descriptors of a request: its streams, its report, and sockets.
MOST_DESCRIPTORS = 16


class Children:
    """The running programs, by the descriptor that reports their end."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._running: dict[int, tuple[int, socket.socket]] = {}
        self._reports: dict[int, int] = {}

    def serve(self) -> dict[str, Any] | None:
        """Fork programs until nobody asks any more; returns the request in each of them, and None at the end."""
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor == self.control.fileno():
                    data, descriptors, _, _ = socket.recv_fds(self.control, REQUEST_BYTES, MOST_DESCRIPTORS)
                    if not data:
                        return None
                    if self._fork(descriptors):
                        return request_in(data)
                elif descriptor in self._running:
                    self._tell_end(descriptor)
                elif descriptor in self._reports:
                    self._reap(descriptor)

    def _fork(self, descriptors: list[int]) -> bool:
        """Return True in the program."""
        process = os.fork()
        if process == 0:
            os.setsid()
            for number, descriptor in enumerate(descriptors[:3]):
                os.dup2(descriptor, number)
            # No object may close a descriptor that the program opens in the place of its own.
            for _, report in self._running.values():
                report.detach()
            self.control.detach()
            place_passed(descriptors[4:])
            return True
        for descriptor in (*descriptors[:3], *descriptors[4:]):
            os.close(descriptor)
        report = socket.socket(fileno=descriptors[3])
        report.sendall(process.to_bytes(4, "big"))
        ended = os.pidfd_open(process)
        self._running[ended] = (process, report)
        self._reports[report.fileno()] = ended
        self._poll.register(ended, select.POLLIN)
        self._poll.register(report, select.POLLHUP)
        return False

    def _tell_end(self, ended: int) -> None:
        """Tell the exit code; its process id stays taken until the other side has closed the socket."""
        self._poll.unregister(ended)
        found = os.waitid(os.P_PIDFD, ended, os.WEXITED | os.WNOWAIT)
        assert found is not None
        code = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
        with contextlib.suppress(OSError):
            self._running[ended][1].sendall(code.to_bytes(4, "big", signed=True))

    def _reap(self, descriptor: int) -> None:
        self._poll.unregister(descriptor)
        ended = self._reports.pop(descriptor)
        process, report = self._running.pop(ended)
        with contextlib.suppress(KeyError):
            self._poll.unregister(ended)
        os.kill(process, signal.SIGKILL)  # It may have ended, but its process id is still its own.
        os.waitpid(process, 0)
        os.close(ended)
        report.close()


def request_in(data: bytes) -> dict[str, Any]:
    """Return a request, which is JSON or, of the launcher, fields with a zero between them."""
    if data.startswith(b"{"):
        found: dict[str, Any] = json.loads(data)
        return found
    folder, count, *words = os.fsdecode(data).split("\0")
    variables = (one.partition("=") for one in words[int(count) :])
    return {
        "folder": folder,
        "arguments": words[: int(count)],
        "environment": {name: value for name, _, value in variables},
    }


def place_passed(descriptors: list[int]) -> None:
    """Place descriptors at 3 and above, and close all others."""
    kept = [fcntl.fcntl(one, fcntl.F_DUPFD, 3 + MOST_DESCRIPTORS) for one in descriptors]
    for place, one in enumerate(kept, 3):
        os.dup2(one, place)
    os.closerange(3 + len(kept), os.sysconf("SC_OPEN_MAX"))


def become(request: dict[str, Any]) -> None:
    """Run the program that was asked for, as `python` would run it."""
    os.chdir(request["folder"])
    os.environ.clear()
    if request.get("passed"):
        os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(request["passed"]))
    os.environ.update(request["environment"])
    arguments: list[str] = request["arguments"]
    places = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    own = [place for place in places if place and place not in sys.path]
    is_script = arguments[0] not in {"-m", "-c"}
    here = os.path.dirname(os.path.realpath(arguments[0])) if is_script else os.getcwd()
    if any(has_packages(place) for place in (*own, here) if place not in sys.path):
        forget_tables()
    sys.path[:0] = own
    open_standard_streams()
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        if arguments[0] == "-m":
            sys.argv = arguments[1:]
            sys.path.insert(0, here)
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        elif arguments[0] == "-c":
            sys.argv = ["-c", *arguments[2:]]
            sys.path.insert(0, "")
            exec(compile(arguments[1], "<string>", "exec", dont_inherit=True), vars(main))
        else:
            sys.argv = list(arguments)
            sys.path.insert(0, here)
            main.__file__ = arguments[0]
            with open(arguments[0], "rb") as file:
                source = file.read()
            exec(compile(source, arguments[0], "exec", dont_inherit=True), vars(main))
    except Exception as error:
        traceback = error.__traceback__
        while traceback is not None and traceback.tb_frame.f_code.co_filename in {
            __file__,
            "<frozen runpy>",
        }:
            traceback = traceback.tb_next
        sys.excepthook(type(error), error.with_traceback(traceback), traceback)
        sys.exit(1)


def fill_tables() -> None:
    """Do once the work of the first client or server of every program: look for installed codecs and compressors.

    It reads the metadata of each package. The signature of a C function takes expressions that are compiled once.
    """
    importlib.import_module("fastrpc.rpc.wire_numbers").numbers_of_all()
    inspect.signature(len)


def has_packages(folder: str) -> bool:
    """Return whether Python finds metadata of packages in a folder."""
    return any(Path(folder).glob("*.dist-info"))


def forget_tables() -> None:
    """Let a program that has packages of its own look for codecs and compressors itself."""
    runpy.run_path(str(Path(__file__).with_name("own_package.py")))["forget_tables"]()


def open_standard_streams() -> None:
    """Open them as the start of an interpreter does: each text file knows the kind of its descriptor."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        before = getattr(sys, name)
        mode, buffering = ("w" if number else "r"), (1 if number == 2 else -1)
        opened = open(number, mode, buffering, encoding=before.encoding, errors=before.errors)  # noqa: SIM115
        setattr(sys, name, opened)
        setattr(sys, f"__{name}__", opened)


def main() -> None:
    """Import the modules that programs need, then fork programs."""
    sys.path.pop(0)
    if "TESTS_UNPICKLED" in os.environ:
        runpy.run_path(str(Path(__file__).with_name("unpickling.py")))["watch"]()
    for name in MODULES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    package = importlib.import_module("fastrpc")
    for name in package.__all__:
        getattr(package, name)
    fill_tables()
    gc.collect()
    gc.freeze()
    request = Children(socket.socket(fileno=int(sys.argv[1]))).serve()
    if request is None:
        return
    try:
        become(request)
    except SystemExit as ending:
        if not isinstance(ending.code, int | None):
            raise
        end(ending.code or 0)
    else:
        end(0)


def end(code: int) -> None:
    """End the program as the interpreter does, up to the destruction of all modules.

    The destruction would copy most of the memory that the program shares with this interpreter, and take longer than
    the work of most programs. A test of it starts its program anew.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError, ValueError):
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)
    # A stream that cannot be written has a separate exit code.
    sys.exit(code)


if __name__ == "__main__":
    main()
