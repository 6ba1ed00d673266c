"""The applications that `--mount` names."""

from collections.abc import Sequence

from fastrpc.errors import ConfigError
from fastrpc.handlers.import_string import check_import_string

__all__ = ["mounts_of"]


def mounts_of(texts: Sequence[str]) -> dict[str, str] | None:
    """Return the import strings of applications by prefix; None for none.

    Raises:
        ConfigError: a text is not PREFIX=module:attribute, or two have one prefix.
    """
    mounts: dict[str, str] = {}
    for text in texts:
        prefix, separator, application = text.partition("=")
        if not separator or not prefix.startswith("/"):
            raise ConfigError(
                f"--mount is {text!r}, it must be PREFIX=module:attribute",
                hint="write it as --mount /old=old_shop:app",
            )
        if prefix in mounts:
            raise ConfigError(
                f"--mount has {prefix!r} twice", hint="give each application a prefix of its own"
            )
        check_import_string(application, example="app")
        mounts[prefix] = application
    return mounts or None
