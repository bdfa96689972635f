"""The log file of a run; nothing in it tells whose machine it was."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

LOG_VARIABLE = 'MRIPREP_LOG'  # path of the log file, for worker processes
PLACES_VARIABLE = 'MRIPREP_PLACES'  # JSON: what stands in for each folder

logger = logging.getLogger('mriprep')


def hide_places(text: str, places: Mapping[str, str]) -> str:
    """Replace folders by words, the longest first.

    Examples
    --------
    >>> hide_places('/home/jo/bids/sub-01', {'/home/jo': '~', '/home/jo/bids': '<bids>'})
    '<bids>/sub-01'
    """
    for folder in sorted(places, key=len, reverse=True):
        if len(folder) > 1:
            # whole names only: /home/jo is not the beginning of /home/jolanda
            pattern = rf'(?<![\w.-]){re.escape(folder)}(?![\w-]|\.\w)'
            text = re.sub(pattern, places[folder], text)
    return text


def places_of(**folders: Path | None) -> dict[str, str]:
    """Say what stands in for each folder in logs and reports.

    The home folder, Python's own and the temporary folder are always hidden.
    """
    import tempfile

    places = {
        str(Path(sys.prefix)): '<python>',
        str(Path(sys.base_prefix)): '<python>',
        str(Path(__file__).parent): '<mriprep>',
        tempfile.gettempdir(): '<tmp>',
        str(Path.home()): '~',
    }
    for name, folder in folders.items():
        if folder is not None:
            places[str(folder)] = f'<{name}>'
            places[str(folder.resolve())] = f'<{name}>'
    return places


# Nipype puts the user's name into the names of crash files
_USER = re.compile(r'(crash-\d{8}-\d{6}-)\S+?-(?=\w+-[0-9a-f]{8}-)')


class _Formatter(logging.Formatter):
    def __init__(self, places: Mapping[str, str]) -> None:
        super().__init__('%(asctime)s %(levelname)s %(message)s')
        self._places = places

    def format(self, record: logging.LogRecord) -> str:
        return _USER.sub(r'\1', hide_places(super().format(record), self._places))


def log_to(path: str | Path, *, level: int = logging.INFO) -> None:
    """Send the messages of mriprep and Nipype to a file, and none of them to the terminal."""
    places = json.loads(os.environ.get(PLACES_VARIABLE, '{}'))
    handler = logging.FileHandler(path, encoding='utf-8')
    handler.setFormatter(_Formatter(places))
    for name in ('mriprep', 'nipype', 'nipype.workflow', 'nipype.interface', 'nipype.utils'):
        target = logging.getLogger(name)
        for old in tuple(target.handlers):
            target.removeHandler(old)
            if isinstance(old, logging.FileHandler):
                old.close()
        target.setLevel(level)
        target.propagate = False
    for name in ('mriprep', 'nipype'):
        logging.getLogger(name).addHandler(handler)
    for name in ('nipype.workflow', 'nipype.interface', 'nipype.utils'):
        logging.getLogger(name).propagate = True


def start_log(path: Path, places: Mapping[str, str], *, level: int = logging.INFO) -> None:
    """Start the log file of a run, for this process and for its workers."""
    logging.raiseExceptions = False  # a full disk must not fill the terminal
    os.environ[LOG_VARIABLE] = str(path)
    os.environ[PLACES_VARIABLE] = json.dumps(dict(places))
    log_to(path, level=level)
