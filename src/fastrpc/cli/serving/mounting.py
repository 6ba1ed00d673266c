"""HTTP settings from options: applications, and the prefix that a proxy strips."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from fastrpc.errors import ConfigError
from fastrpc.handlers.import_string import check_import_string

__all__ = ["RootPath", "http_settings"]

RootPath = Annotated[
    str | None,
    typer.Option("--root-path", metavar="PATH", help="The start of paths that a proxy strips, such as /api."),
]


def http_settings(mount: Sequence[str] | None, root_path: str | None) -> dict[str, Any]:
    """Return the settings for `--mount` and `--root-path`; None for a missing option.

    Raises:
        ConfigError: a mount is not PREFIX=module:attribute, or two mounts have the same prefix.
    """
    return {"http.mounts": _mounts_of(mount or ()), "http.root_path": root_path}


def _mounts_of(texts: Sequence[str]) -> dict[str, str] | None:
    """Return the import strings of applications by prefix; None if there are no mounts."""
    mounts: dict[str, str] = {}
    for text in texts:
        prefix, separator, application = text.partition("=")
        if not separator or not prefix.startswith("/"):
            raise ConfigError(
                f"--mount is {text!r}, it must be PREFIX=module:attribute",
                hint="write it as --mount /old=old_shop:app",
            )
        if prefix in mounts:
            raise ConfigError(f"--mount has {prefix!r} twice", hint="give each application its own prefix")
        check_import_string(application, example="app")
        mounts[prefix] = application
    return mounts or None
