"""What is installed: the container pins everything that the package requires."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def names(lines):
    found = (re.match(r'[A-Za-z0-9._-]+', line.strip()) for line in lines)
    return {re.sub(r'[-_.]+', '-', match[0]).lower() for match in found if match}


def test_the_container_pins_every_requirement():
    project = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
    pinned = (ROOT / 'docker' / 'requirements.txt').read_text().splitlines()
    assert names(project['dependencies']) <= names(line for line in pinned if '==' in line)


def test_the_container_pins_what_other_extractors_require():
    extras = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project'][
        'optional-dependencies'
    ]
    lines = [
        line
        for name in ('requirements.txt', 'requirements-networks.txt')
        for line in (ROOT / 'docker' / name).read_text().splitlines()
        if '==' in line
    ]
    assert names(extras['hd-bet'] + extras['synthstrip']) <= names(lines)
    pins = [line.split('==')[0].lower() for line in lines]
    assert len(pins) == len(set(pins)), 'pinned twice'


def test_readme_and_ci_name_the_same_test_command():
    readme, ci = (ROOT / 'README.md').read_text(), (ROOT / '.ci' / 'run').read_text()
    for words in ('-c .ci/constraints.txt -e', 'python -m pytest'):
        assert words in readme
        assert words in ci
