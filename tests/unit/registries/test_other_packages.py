"""A module that another package brings under the same name: the error names both packages."""

import sys
from pathlib import Path

import pytest

from fastrpc import ConfigError
from fastrpc.coordination import open_store
from fastrpc.registries import open_registry


@pytest.fixture
def python_consul(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install python-consul in front of py-consul: both bring the module `consul`."""
    package, about = tmp_path / "consul", tmp_path / "python_consul-1.1.0.dist-info"
    package.mkdir()
    about.mkdir()
    (package / "__init__.py").write_text("class Consul: ...\n")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: python-consul\nVersion: 1.1.0\n")
    (about / "top_level.txt").write_text("consul\n")
    for name in [name for name in sys.modules if name.partition(".")[0] == "consul"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "consul"]:
        del sys.modules[name]


@pytest.mark.usefixtures("python_consul")
@pytest.mark.parametrize("opener", [open_registry, open_store])
def test_python_consul_in_place_of_py_consul_is_named_with_the_reason(opener: object) -> None:
    with pytest.raises(ConfigError) as refused:
        opener("consul://127.0.0.1:8500")  # type: ignore[operator]
    assert "needs py-consul, and the module 'consul' is of python-consul" in str(refused.value)
    hint = refused.value.hint or ""
    assert hint.startswith(
        "pip uninstall python-consul, then pip install --force-reinstall 'fastrpc[consul]': "
    )
    assert "no release since 2018, under the same module name" in hint


def test_a_module_of_the_program_itself_is_named_by_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "consul.py").touch()
    for name in [name for name in sys.modules if name.partition(".")[0] == "consul"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        with pytest.raises(ConfigError, match=r"is of .*consul\.py \(rename that module\)"):
            open_registry("consul://127.0.0.1:8500")
    finally:
        sys.modules.pop("consul", None)
