"""The extras of the package: each is used, and the README names it. The URLs by which it is installed."""

import re
import tomllib
from pathlib import Path

import fastrpc

#: Extras that combine other extras.
NO_PARTS = {"all", "standard"}


def test_every_extra_is_used_by_the_package() -> None:
    root = Path(fastrpc.__file__).parent
    sources = "\n".join(path.read_text() for path in root.rglob("*.py"))
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].keys() - NO_PARTS
    modules = {
        "cli": "typer",
        "consul": "consul",
        "cron": "cronsim",
        "dns": "dns",
        "grpc": "google.protobuf",
        "jwt": "jwt",
        "mdns": "zeroconf",
        "nats": "nats",
        "otel": "opentelemetry",
        "otel-sdk": "opentelemetry.sdk",
        "protobuf": "fastrpc.codecs.protobuf",
        "redis": "redis",
        "zookeeper": "kazoo",
        "zstd": "zstd",
    }
    assert extras == modules.keys()
    for module in modules.values():
        assert re.search(rf"import {module}|from {module}|\"{module}", sources), module


def test_the_readme_names_every_extra_and_all_has_those_that_need_no_choice() -> None:
    root = Path(__file__).parents[3]
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    install = (root / "README.md").read_text().partition("## Install")[2].partition("\n## ")[0]
    assert set(re.findall(r"`([a-z-]+)`", install)) >= extras.keys()
    (everything,) = extras["all"]
    parts = set(everything.removeprefix("fastrpc[").removesuffix("]").split(","))
    # Programs choose their SDK and its exporter themselves.
    assert parts == extras.keys() - {*NO_PARTS, "otel-sdk"}


def test_urls_of_installs_have_a_host() -> None:
    """Before 24.1 pip refuses a URL without a host, as `file:///folder`; the venv of CPython 3.11 has such a pip."""
    root = Path(__file__).parents[3]
    documents = [*root.glob("*.md"), *root.glob("docs/guide/*.md")]
    urls = [url for path in documents for url in re.findall(r" @ (git\+[^\"\s]+)", path.read_text())]
    assert urls
    assert [url for url in urls if re.match(r"git\+\w+://(\$|/)", url)] == []
