"""A watch for unpickling in a run of the tests, in its processes and in the programs that they fork: none is allowed.

An audit hook notes each class that a pickle names, with its place, in a file that all processes of the run share. It
ignores lines of tests that call `pickle.loads` themselves, for example to copy errors, and `multiprocessing`, which
unpickles the messages of tests to their processes. Programs that start an interpreter anew are not watched.

This module imports nothing of `tests`, as the interpreter of `warm_process` runs it, too.
"""

import os
import sys
import traceback

__all__ = ["NOTED", "watch"]

#: The variable that names the file; programs do not get those that begin with FASTRPC_.
NOTED = "TESTS_UNPICKLED"

_TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def watch() -> None:
    """Note from now on the classes unpickled in this process, and in processes that it forks. It cannot be ended."""
    path = os.environ[NOTED]

    def note(event: str, values: tuple[object, ...]) -> None:
        if event != "pickle.find_class":
            return
        frames = traceback.extract_stack(sys._getframe(1))
        if _is_of_tests(frames):
            return
        where = " < ".join(f"{frame.filename}:{frame.lineno}" for frame in reversed(frames[-6:]))
        # A test of this has a separate file.
        descriptor = os.open(os.environ.get(NOTED, path), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, f"{values[0]}.{values[1]} at {where}\n".encode())
        finally:
            os.close(descriptor)

    sys.addaudithook(note)


def _is_of_tests(frames: traceback.StackSummary) -> bool:
    """Return whether a test unpickles by itself. What is compiled has no frame: it stands on the line that calls it."""
    caller = frames[-1]
    if caller.filename.startswith(_TESTS) and "pickle.loads(" in (caller.line or ""):
        return True
    return any("multiprocessing" in frame.filename.split(os.sep) for frame in frames)
