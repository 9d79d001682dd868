"""Tests, in the folders of what they test; `fixtures` has what they share."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
