"""Translation to C: declarations are read once, and each module is translated in a fork that knows them."""

import gc
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from Cython.Build.SharedModule import generate_shared_module
from Cython.Compiler import Errors
from Cython.Compiler.Main import CompilationOptions, Context, compile_single, default_options

from ci.compiling.profiles import SHARED

__all__ = ["Translator"]


class ReachableDeclarations(dict[str, Any]):
    """The declarations that Cython has read; iterating yields only those that the translated module cimports."""

    def __init__(self, declarations: dict[str, Any], module: Any) -> None:
        super().__init__(declarations)
        self._module = module

    def items(self) -> Any:
        found: dict[str, Any] = {}
        waiting = [self._module]
        while waiting:
            scope = waiting.pop()
            if scope.qualified_name not in found:
                found[scope.qualified_name] = scope
                waiting += scope.cimported_modules
        return {name: tree for name, tree in super().items() if name in found}.items()


class Translator:
    """Translates modules with Cython.

    Cython reads the declarations (`.pxd`) of everything that a module cimports, which takes longer than the module
    itself. A build reads them once and forks for each module: translation changes them, so a process translates one
    module.
    """

    def __init__(self, directives: dict[str, object], generated: Path, source_folder: str = "src") -> None:
        self._directives = directives
        self._generated = generated
        self._source_folder = source_folder
        self._context = Context.from_options(self._options(shared_utility_qualified_name=SHARED))

    def read_declarations(self, names: Iterable[str]) -> None:
        """Read the declarations of modules that have some, with all that these cimport."""
        # None of these objects becomes garbage, and forks share their pages as long as the collector does not touch
        # them.
        gc.disable()
        Errors.init_thread()
        # Prints the errors to stderr; without this call nothing prints them.
        Errors.open_listing_file(None)
        for name in sorted(names):
            self._context.find_module(name)
        if errors := Errors.get_errors_count():
            raise SystemExit(f"Cython found {errors} errors in declarations")
        gc.freeze()

    def path_of(self, source: Path) -> Path:
        """Return the path of the C of a source."""
        return self._generated / source.with_suffix(".c")

    def translate(self, name: str, source: Path) -> Path:
        """Write the C of one module, once in a process; messages are printed to stderr.

        Raises:
            SystemExit: the source has errors.
        """
        target = self.path_of(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        if name == SHARED:
            generate_shared_module(self._options(shared_c_file_path=str(target), module_name=SHARED))
            return target
        self._context.pxds = ReachableDeclarations(
            self._context.pxds, self._context.find_module(name, need_pxd=0)
        )
        options = self._options(output_file=str(target), shared_utility_qualified_name=SHARED)
        result = compile_single(str(source), options, context=self._context, full_module_name=name)
        if result.num_errors:
            target.unlink(missing_ok=True)
            raise SystemExit(f"{source}: Cython found {result.num_errors} errors")
        return target

    def _options(self, **options: str) -> CompilationOptions:
        return CompilationOptions(
            defaults=default_options,
            include_path=[self._source_folder],
            compiler_directives=dict(self._directives),
            shared_utility_features_disabled=["AutoPickle", "MemoryView"],  # Unused by all modules.
            **options,
        )
