"""Prepare structural head MRI for analysis and machine learning."""

from mriprep._version import __version__

__all__ = ['__version__']
