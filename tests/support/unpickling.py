"""A watch over what unpickles in a run of the tests, in its processes and in the programs that they fork: nothing may.

An audit hook notes each class that a pickle names, with where that was, in a file that all processes of the run share.
Left out are a line of a test that calls `pickle.loads` itself, such as those that copy errors, and `multiprocessing`,
which unpickles what tests send to processes of their own. Programs that start an interpreter anew are not watched.

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
    """Note from now on what is unpickled in this process, and in those that it forks. It cannot be ended."""
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
