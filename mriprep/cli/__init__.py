"""The command line: the first word chooses the module that reads the rest.

Nothing heavy is imported before a command needs it, so that help and version are instant.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

COMMANDS = {
    'demo': 'build heads with known truth, run the main job on them, compare with the truth',
    'fetch': 'get templates and weights ahead of time',
    'doctor': 'check this machine',
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run mriprep; return the exit code.

    0: all done. 1: some images failed, the rest are done. 2: nothing was started.
    130: interrupted.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in COMMANDS:
        import importlib

        module = importlib.import_module(f'mriprep.cli.{words[0]}')
        return int(module.main(words[1:]))
    from mriprep.cli import participant

    return participant.main(words)
