"""Paths in a configuration."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from pipeline.user_path import expanded

# With `~` for the user's home folder.
HomePath = Annotated[str, AfterValidator(expanded)]
