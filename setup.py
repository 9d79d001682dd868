"""Build script for `pip install .` and Beam's `--setup_file`; pyproject.toml holds the facts."""

from setuptools import setup

setup()
