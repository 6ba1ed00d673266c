"""A program that is forked from an interpreter with the package behaves like one that is started anew."""

import signal
import subprocess
import textwrap
from pathlib import Path

import pytest

from tests.support.own_package import write_package
from tests.support.program import PACKAGE_ROOT, Finished, Program, run_program
from tests.support.waiting import eventually

pytestmark = pytest.mark.parametrize("is_anew", [False, True], ids=["forked", "anew"])

LOOK = """
import os, sys
print(sys.argv, __name__, os.getcwd(), os.environ.get("GIVEN"), sys.stdin.read())
print(os.getpid() == os.getpgrp(), os.getsid(0) == os.getpid(), sys.modules["__main__"].__dict__ is globals())
print(sys.stdout.line_buffering, sys.stderr.line_buffering, sys.stdout.encoding, sys.stderr.errors)
print(sorted(os.listdir("/proc/self/fd"))[:3], len(os.listdir("/proc/self/fd")))
print("aside", file=sys.stderr, end="")
"""


def ran(program: str, folder: Path, *, is_anew: bool) -> Finished:
    return run_program(["-c", textwrap.dedent(program)], folder, is_anew=is_anew)


@pytest.mark.parametrize("way", ["script", "module", "text"])
def test_program_finds_itself_as_python_starts_it(is_anew: bool, way: str, tmp_path: Path) -> None:
    (tmp_path / "look.py").write_text(LOOK)
    arguments = {"script": ["look.py", "a"], "module": ["-m", "look", "a"], "text": ["-c", LOOK, "a"]}[way]
    with Program(arguments, tmp_path, {"GIVEN": "x"}, stdin=subprocess.PIPE, is_anew=is_anew) as program:
        program.write("input")
        program.close_input()
        ended = program.wait()
    shown = {"script": "look.py", "module": str(tmp_path / "look.py"), "text": "-c"}[way]
    assert (ended.code, ended.errors) == (0, "aside")
    assert ended.output.splitlines() == [
        f"['{shown}', 'a'] __main__ {tmp_path} x input",
        "True True True",
        "False True utf-8 backslashreplace",
        "['0', '1', '2'] 4",
    ]


def test_module_in_the_same_folder_is_found(is_anew: bool, tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("NAME = 'beside'")
    assert ran("import beside; print(beside.NAME)", tmp_path, is_anew=is_anew).output == "beside\n"


@pytest.mark.parametrize("place", ["folder", "script", "path"])
def test_codecs_of_packages_in_the_same_folder_are_found(is_anew: bool, place: str, tmp_path: Path) -> None:
    folder = tmp_path / place
    folder.mkdir()
    write_package(folder, "own_beside")
    (folder / "look.py").write_text(
        "from fastrpc.codecs.base import codec_named; print(codec_named('reversed').name)"
    )
    arguments = [str(folder / "look.py")] if place == "script" else ["-m", "look"]
    path = {"PYTHONPATH": f"{PACKAGE_ROOT}:{folder}"} if place == "path" else {}
    here = folder if place == "folder" else tmp_path
    ended = run_program(arguments, here, path, is_anew=is_anew)
    assert (ended.output, ended.errors) == ("reversed\n", "")


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("pass", 0),
        ("raise SystemExit(3)", 3),
        ("import os; os._exit(4)", 4),
        ("import os; os.kill(os.getpid(), 9)", -9),
        ("raise KeyboardInterrupt", -signal.SIGINT),
    ],
)
def test_end_is_reported(is_anew: bool, end: str, code: int, tmp_path: Path) -> None:
    assert ran(end, tmp_path, is_anew=is_anew).code == code


def test_failure_shows_the_lines_of_the_program_alone(is_anew: bool, tmp_path: Path) -> None:
    ended = ran("def fail():\n    raise ValueError('x')\nfail()", tmp_path, is_anew=is_anew)
    assert ended.code == 1
    assert ended.errors.count("  File ") == 2
    assert ended.errors.endswith("ValueError: x\n")


def test_functions_of_atexit_are_run(is_anew: bool, tmp_path: Path) -> None:
    program = "import atexit; atexit.register(print, 'late'); print('early')"
    assert ran(program, tmp_path, is_anew=is_anew).output == "early\nlate\n"


def test_signals_act_as_they_do_at_the_start(is_anew: bool, tmp_path: Path) -> None:
    program = "import signal; print([signal.getsignal(n).__class__.__name__ for n in (2, 13, 15, 17)])"
    assert ran(program, tmp_path, is_anew=is_anew).output.count("Handlers") == 3


def test_each_program_draws_separate_random_numbers(is_anew: bool, tmp_path: Path) -> None:
    drawn = {ran("import random; print(random.random())", tmp_path, is_anew=is_anew).output for _ in range(3)}
    assert len(drawn) == 3


async def test_program_and_its_children_are_gone_after_the_block(is_anew: bool, tmp_path: Path) -> None:
    program = "import os, signal; os.fork(); print(os.getpid(), flush=True); signal.pause()"
    with Program(["-c", program], tmp_path, is_anew=is_anew) as running:
        processes = [int(number) for number in running.wait_output(r"(\d+)\n(\d+)\n").groups()]
        running.signal(signal.SIGSTOP)
    await eventually(lambda: not any(is_running(process) for process in processes))


def is_running(process: int) -> bool:
    """Tell whether it runs; a killed one may stay in the table for a moment, as a zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_program_that_continues_is_recognised_by_its_output(is_anew: bool, tmp_path: Path) -> None:
    with Program(
        ["-c", "import signal; print(1, flush=True); signal.pause()"], tmp_path, is_anew=is_anew
    ) as one:
        one.wait_output("1")
        with pytest.raises(AssertionError, match="did not end within"):
            one.wait(0.01)
        one.signal(signal.SIGTERM)
        assert one.wait().code == -signal.SIGTERM
