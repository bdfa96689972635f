"""Run one ANTs program of the antspyx wheel: ``python launch.py PROGRAM WORD...``.

The scripts in ``bin`` start this file in a bare interpreter (no site packages, no user settings),
so it imports almost nothing and finds the wheel's compiled module by itself.
"""

from __future__ import annotations

import os
import signal
import sys
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from pathlib import Path

LIBRARY_VARIABLE = 'MRIPREP_ANTS_LIBRARY'
CPP_ERRORS = (IndexError, MemoryError, OverflowError, RuntimeError, TypeError, ValueError)
"""What exceptions of C++ become in Python."""
ABORTED = 134
"""Exit code of the originals, in a shell's words, when an exception is caught by nobody."""


def find_library() -> str | None:
    """Return the path of antspyx's compiled module, or None where antspyx is not installed."""
    given = os.environ.get(LIBRARY_VARIABLE)
    if given and Path(given).is_file():
        return given
    version = f'python{sys.version_info.major}.{sys.version_info.minor}'
    beside = Path(__file__).resolve().parents[2]
    prefix = Path(sys.executable).parent.parent
    for folder in (beside, prefix / 'lib' / version / 'site-packages'):
        if found := library_in(folder / 'ants'):
            return found
    # The full, slower search: whatever this interpreter itself would import.
    import importlib.util
    import site

    site.main()
    spec = importlib.util.find_spec('ants')
    for folder in map(Path, (spec and spec.submodule_search_locations) or ()):
        if found := library_in(folder):
            return found
    return None


def library_in(folder: Path) -> str | None:
    """Return the compiled module in a folder that this interpreter can load, or None."""
    for suffix in EXTENSION_SUFFIXES:
        path = folder / f'lib{suffix}'
        if path.is_file():
            return str(path)
    return None


def main(words: list[str]) -> int:
    """Run the program ``words[0]`` with the words after it; return its exit code."""
    program = words[0]
    # A program dies of Ctrl-C and of a closed pipe; Python would wait for it to end.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    path = find_library()
    if path is None:
        print(
            f'{program}: {sys.executable} has no antspyx, which holds this program; '
            f'install it (pip install antspyx), or set MRIPREP_PYTHON to the Python that has it',
            file=sys.stderr,
        )
        return 127
    try:
        spec = ModuleSpec('lib', loader := ExtensionFileLoader('lib', path), origin=path)
        module = loader.create_module(spec)
        loader.exec_module(module)
        return int(getattr(module, program)(words[1:]))
    except (ImportError, *CPP_ERRORS) as error:
        print(f'{program}: {type(error).__name__}: {error}', file=sys.stderr)
        return ABORTED


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
