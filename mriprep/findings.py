"""What the doctor finds: one thing that was looked at, and the command that mends it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import StrEnum


class Topic(StrEnum):
    """What a finding is about."""

    PROGRAM = 'program'
    PACKAGE = 'package'
    DATA = 'data'
    MACHINE = 'machine'


class State(StrEnum):
    """Whether a finding stands in the way of a run with default settings."""

    OK = 'ok'
    NOTE = 'note'  # absent or small, and the default path runs without it
    MISSING = 'missing'


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    topic: Topic
    name: str
    state: State
    value: str  # version, amount, or what is wrong
    origin: str = ''  # where it comes from
    remedy: str = ''  # the one command that mends it


def install(requirement: str) -> str:
    """Return the command that installs a Python package where mriprep runs."""
    return f"{sys.executable} -m pip install '{requirement}'"
