"""Names of classes in descriptions."""

import pathlib

from fastrpc.rpc.schema.type_names import module_of


def test_paths_are_of_the_module_that_programs_import() -> None:
    made = type("PosixPath", (), {"__module__": "pathlib._local"})
    assert module_of(made) == module_of(pathlib.PurePosixPath) == "pathlib"


def test_a_module_of_a_program_keeps_its_name() -> None:
    assert module_of(type("Point", (), {"__module__": "app._local"})) == "app._local"
