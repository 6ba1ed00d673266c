"""The build step of setup.py: translates, compiles and links stale modules, on all cores, and reports its progress."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, TextIO

from setuptools import Extension
from setuptools.command.build_ext import build_ext

from ci.compiling.cache import ModuleCache, cache_folder
from ci.compiling.freshness import Record, declarations_of, describe_tools, key_of
from ci.compiling.parallel import WorkFailedError, core_count, forked
from ci.compiling.precompiled import PrecompiledHeaders
from ci.compiling.profiles import CORE, DIRECTIVES, HARNESS, PROFILES, fruitless_arguments
from ci.compiling.progress import Progress
from ci.compiling.requirements import check_compiler, check_disk, check_interpreter, compiler_command
from ci.compiling.translation import Translator

__all__ = ["BuildCore", "build_command"]

SOURCES = Path("src")


class BuildCore(build_ext):
    """Builds the modules whose key differs from that of the last build, one process for each, longest first."""

    profile: ClassVar[str] = "release"

    def build_extensions(self) -> None:
        """Build the stale modules; setuptools has already set up the compiler."""
        check_interpreter()
        check_compiler(compiler_command())
        folder = Path("build", self.profile)
        directives = {**DIRECTIVES, **PROFILES[self.profile].directives}
        tools = describe_tools(self.compiler.compiler_so, self.compiler.linker_so, directives)
        self._is_gcc = "Free Software Foundation" in str(tools["compiler"])
        for each in self.extensions:
            each.extra_compile_args += fruitless_arguments(each) if self._is_gcc else []
        record = Record(folder / "built.json")
        self._translator = Translator(directives, folder / "cython", str(SOURCES))
        self._cache = ModuleCache(cache_folder() if PROFILES[self.profile].is_shared else None)
        refused = self._tell_refusal("")
        keys = {each.name: self._keys(each, tools) for each in self.extensions}
        stale = [
            each for each in self.extensions if not record.is_fresh(self._target(each), keys[each.name][0])
        ]
        taken = [each for each in stale if self._cache.take(keys[each.name][1], self._target(each))]
        for each in taken:
            record.add(self._target(each), keys[each.name][0])
        rest = [each for each in stale if each not in taken]
        # This comes before anything is written: if the disk is full, the error would be the disk's, not ours.
        check_disk(Path("build"), len(rest))
        folder.mkdir(parents=True, exist_ok=True)
        self._headers = self._headers_for(rest, folder / "headers")
        log = folder / "build.log"
        try:
            with output_into(log) as stream:
                for done in self._built(rest, len(taken), str(log), stream):
                    record.add(self._target(done), keys[done.name][0])
                    self._cache.keep(keys[done.name][1], self._target(done))
        except WorkFailedError as error:
            text = log.read_text(encoding="utf-8", errors="replace")
            raise SystemExit(f"{text}\nbuilding {error.args[0].name} failed") from None
        finally:
            record.save()
        self._cache.prune()
        self._tell_refusal(refused)
        tell_warnings(log)

    def _tell_refusal(self, told: str) -> str:
        """Print why the cache is not used, unless it was printed before; return it."""
        refusal = self._cache.refusal
        if refusal != told:
            print(f"the cache of compiled modules is not used: {refusal}", file=sys.stderr)
        return refusal

    def _headers_for(self, extensions: list[Extension], folder: Path) -> PrecompiledHeaders:
        """Begin to make headers for modules, where the compiler can."""
        includes = [f"-I{path}" for path in self.compiler.include_dirs]
        headers = PrecompiledHeaders([*self.compiler.compiler_so, *includes], folder)
        if self._is_gcc:
            headers.prepare(extensions)
        return headers

    def _keys(self, extension: Extension, tools: dict[str, object]) -> tuple[str, str]:
        """Return the keys of a module: for its folder with its cimports, for the cache with all declarations."""
        source = Path(extension.sources[0])
        settings = {
            "tools": tools,
            "name": extension.name,
            "macros": extension.define_macros,
            "arguments": [extension.extra_compile_args, extension.extra_link_args],
        }
        sources = {source} if source.exists() else set()
        headers = set(CORE.rglob("*.h"))
        named = declarations_of(source, SOURCES) if sources else set()
        every = set(CORE.rglob("*.pxd"))
        if extension.name.startswith(HARNESS.name):
            # A source distribution has no harness, so its declarations are only in the keys of the harness.
            every.update(HARNESS.glob("*.pxd"))
        return key_of(settings, sources | headers | named), key_of(
            settings, sources | headers | named | every
        )

    def _target(self, extension: Extension) -> Path:
        return Path(self.get_ext_fullpath(extension.name))

    def _built(
        self, extensions: list[Extension], taken: int, log: str, stream: TextIO
    ) -> Iterator[Extension]:
        """Build modules, as many at a time as there are cores, and yield each that is done."""
        if not extensions:
            if taken:
                stream.write(f"took {taken} modules from the cache\n")
            return
        sizes = {each.name: size_of(each) for each in extensions}
        waiting = sorted(extensions, key=lambda each: sizes[each.name], reverse=True)
        progress = Progress(list(sizes.values()), core_count(), log, stream)
        progress.start()
        sources = {Path(each.sources[0]) for each in extensions}
        declared = {
            path for source in sources if source.exists() for path in declarations_of(source, SOURCES)
        }
        try:
            self._translator.read_declarations(
                ".".join(path.relative_to(SOURCES).with_suffix("").parts) for path in declared
            )
        finally:
            self._headers.wait()
        for done in forked(waiting, self._build_one):
            progress.advance(sizes[done.name])
            yield done
        progress.finish(taken)

    def _build_one(self, extension: Extension) -> None:
        """Translate, compile and link a module."""
        source = self._translator.translate(extension.name, Path(extension.sources[0]))
        target = self._target(extension)
        # setuptools links no module that looks newer than its objects.
        target.unlink(missing_ok=True)
        compiler: Any = self.compiler
        objects = compiler.compile(
            [str(source)],
            output_dir=self.build_temp,
            macros=extension.define_macros,
            include_dirs=extension.include_dirs,
            debug=self.debug,
            extra_postargs=[*extension.extra_compile_args, *self._headers.arguments_for(extension)],
        )
        compiler.link_shared_object(
            objects,
            str(target),
            libraries=self.get_libraries(extension),
            library_dirs=extension.library_dirs,
            runtime_library_dirs=extension.runtime_library_dirs,
            extra_postargs=extension.extra_link_args,
            export_symbols=self.get_export_symbols(extension),
            debug=self.debug,
            build_temp=self.build_temp,
            target_lang="c",
        )


def build_command(profile: str) -> type[BuildCore]:
    """Return the command that builds a profile."""
    return type("build_ext", (BuildCore,), {"profile": profile})


def size_of(extension: Extension) -> int:
    """Return the bytes of a source; Cython writes the shared module itself, which is large."""
    source = Path(extension.sources[0])
    return source.stat().st_size if source.exists() else 20_000


@contextmanager
def output_into(log: Path) -> Iterator[TextIO]:
    """Redirect the output of this process and its children to a file; yield the former standard output."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o666)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    try:
        with open(os.dup(saved[0]), "w", encoding="utf-8") as stream:
            yield stream
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, descriptor in enumerate(saved, start=1):
            os.dup2(descriptor, number)
            os.close(descriptor)


def tell_warnings(log: Path) -> None:
    """Print the warnings of Cython and the compiler: they are worth reading."""
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        if re.search("warning", line, re.IGNORECASE):
            print(line, file=sys.stderr)
