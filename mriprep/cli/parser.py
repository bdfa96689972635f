"""A parser whose errors are one plain line."""

from __future__ import annotations

import argparse
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """Argparse without the usage text in front of each error; no abbreviated options."""

    def __init__(self, **options: object) -> None:
        super().__init__(**{'allow_abbrev': False, **options})  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and exit with code 2."""
        self.exit(2, f'{self.prog}: {message}; see {self.prog} --help\n')
