"""Sphinx: ``python -m sphinx -W -b html docs docs/_build``."""

project = 'mriprep'
copyright = 'The mriprep developers'
extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon']
html_theme = 'furo'
exclude_patterns = ['_build']
autodoc_typehints = 'none'
suppress_warnings = ['myst.xref_missing']
