"""`module:attribute`."""

from pathlib import Path

import pytest

from fastrpc.errors import ConfigError
from fastrpc.handlers.import_string import check_import_string, import_from_string


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with `sys.path` and modules restored afterwards."""
    import sys

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    return tmp_path


@pytest.mark.parametrize("text", ["app", "app:", ":services", "app.py", "app.py:x", "app:a b", "a/b:c", ""])
def test_text_of_another_form_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_import_string(text)
    assert caught.value.hint is not None
    assert "such as" in caught.value.hint


def test_file_name_is_answered_with_the_module() -> None:
    with pytest.raises(ConfigError) as caught:
        check_import_string("shop/app.py")
    assert caught.value.hint == "write it as module:attribute, such as shop.app:services"


def test_module_of_the_working_directory_is_found(folder: Path) -> None:
    (folder / "local_app.py").write_text("class A:\n    b = 5")
    assert import_from_string("local_app:A.b") == 5


def test_missing_module_is_named(folder: Path) -> None:
    with pytest.raises(ConfigError, match="there is no module 'no_such_app'"):
        import_from_string("no_such_app:services")


def test_a_mistake_that_a_decorator_finds_is_placed_in_the_program(folder: Path) -> None:
    lines = [
        "import fastrpc",
        '@fastrpc.service("wrong")',
        "class Wrong:",
        "    @fastrpc.method",
        "    def f(self, *a): pass",
    ]
    (folder / "wrong_app.py").write_text("\n".join(lines))
    with pytest.raises(ConfigError, match=r"\(\S*wrong_app\.py:\d\)"):
        import_from_string("wrong_app:Wrong")


def test_missing_attribute_gets_the_nearest(folder: Path) -> None:
    (folder / "near_app.py").write_text("services = []")
    with pytest.raises(ConfigError) as caught:
        import_from_string("near_app:service")
    assert caught.value.hint == "did you mean 'services'?"


def test_hints_name_the_things_that_are_sought(folder: Path) -> None:
    (folder / "other_app.py").write_text("make = 1")
    with pytest.raises(ConfigError) as caught:
        import_from_string("other_app:services")
    assert caught.value.hint == "name a service class, an instance or a list of them"
    with pytest.raises(ConfigError) as caught:
        import_from_string("other_app:services", sought="a store", example="store")
    assert caught.value.hint == "name a store"
    with pytest.raises(ConfigError) as caught:
        import_from_string("other_app:", sought="a store", example="store")
    assert caught.value.hint == "write it as module:attribute, such as other_app:store"


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (
            "import no_such_part",
            r"ModuleNotFoundError: No module named 'no_such_part' \(.*failing_app\.py:1\)",
        ),
        ("x = 1\ny = x.z", r"AttributeError: .* \(.*failing_app\.py:2\)"),
        ("def x(:", r"SyntaxError: .*failing_app\.py, line 1"),
    ],
)
def test_module_that_fails_is_reported_with_the_line(folder: Path, code: str, cause: str) -> None:
    (folder / "failing_app.py").write_text(code)
    with pytest.raises(ConfigError, match=cause):
        import_from_string("failing_app:services")
