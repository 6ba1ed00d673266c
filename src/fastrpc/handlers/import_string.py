"""Import strings, `module:attribute`, that name services and other objects of a program."""

import importlib
import sys
import traceback
from pathlib import Path
from typing import Any, Final

from fastrpc.errors import ConfigError
from fastrpc.rpc.description import nearest_name

__all__ = ["check_import_string", "import_from_string"]


#: The folder of the package's files.
_PACKAGE: Final = f"{Path(__file__).parents[1]}/"

SERVICES: Final = "a service class, an instance or a list of them"


def check_import_string(text: str, *, example: str = "services") -> tuple[str, str]:
    """Return module and attribute.

    Args:
        example: an attribute for the hint if the text names no attribute.

    Raises:
        ConfigError: the text does not have the form `module:attribute`.
    """
    module, separator, attribute = text.partition(":")
    parts = [*module.split("."), *attribute.split(".")]
    if separator and not module.endswith(".py") and all(part.isidentifier() for part in parts):
        return module, attribute
    hint = f"write it as module:attribute, such as {_suggestion(text, example)}"
    raise ConfigError(f"{text!r} is not an import string", hint=hint)


def import_from_string(text: str, *, sought: str = SERVICES, example: str = "services") -> Any:
    """Import a module, from the working directory first, and return its attribute.

    Args:
        sought: the things that may be named, for the hint.
        example: as for `check_import_string`.

    Raises:
        ConfigError: there is no such module or attribute, or the module raises; the message names the line.
    """
    module_name, attribute = check_import_string(text, example=example)
    if sys.path[:1] != [""]:
        sys.path.insert(0, "")
    importlib.invalidate_caches()
    value: Any = _import(text, module_name)
    for name in attribute.split("."):
        try:
            value = getattr(value, name)
        except AttributeError:
            near = nearest_name(name, [known for known in dir(value) if not known.startswith("_")])
            raise ConfigError(
                f"{module_name!r} has no {attribute!r}",
                hint=f"did you mean {near!r}?" if near else f"name {sought}",
            ) from None
    return value


def _import(text: str, module_name: str) -> Any:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            raise ConfigError(
                f"there is no module {error.name!r}",
                hint="run the command in the directory that holds it, or install its package",
            ) from None
        raise _broken(text, module_name, error) from error
    except Exception as error:
        raise _broken(text, module_name, error) from error


def _broken(text: str, module_name: str, error: Exception) -> ConfigError:
    place = _place(error)
    return ConfigError(
        f"{text} cannot be imported: {type(error).__name__}: {error}{f' ({place})' if place else ''}",
        hint=f"python -c 'import {module_name}' shows the whole traceback",
    )


def _place(error: Exception) -> str:
    """Return file and line of the innermost frame below the import, preferably of the program."""
    if isinstance(error, SyntaxError):
        return ""  # The text of the error names file and line.
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<") and frame.filename not in {__file__, importlib.__file__}
    ]
    # Skip our own frames: if one of our decorators raises, the mistake is in a line of the program.
    frames = [frame for frame in frames if not frame.filename.startswith(_PACKAGE)] or frames
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def _suggestion(text: str, example: str) -> str:
    file, _, attribute = text.partition(":")
    module = file.removesuffix(".py").replace("/", ".")
    if not attribute.isidentifier():
        attribute = example
    return (
        f"{module}:{attribute}"
        if all(part.isidentifier() for part in module.split("."))
        else f"app:{example}"
    )
