"""Paths that TensorFlow, Beam and TFX would take for patterns, or cannot take at all."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

# What stands for something else in a file pattern of any of them, and surrogates: names that are
# no UTF-8, which protocol buffers and TensorFlow refuse.
_SPECIAL = re.compile(r"[*?\[\]{}\\\x00-\x1f\ud800-\udfff]")


def is_plain(path: str | Path) -> bool:
    """Whether a path stands for itself in a file pattern, and can be written as UTF-8."""
    return _SPECIAL.search(str(path)) is None


def is_text(path: str | Path) -> bool:
    """Whether a path is UTF-8, as protocol buffers, and so TFX and TensorFlow, want it."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


@contextlib.contextmanager
def plain(path: str | Path) -> Iterator[str]:
    """Another name of a file or folder that `is_plain`, for as long as the context lasts.

    It is a link to it in a temporary folder; a path that is plain is its own name. Children of a
    folder may be reached and made through it; its own name may not be used afterwards.
    """
    if is_plain(path):
        yield str(path)
        return
    temporary = tempfile.gettempdir()
    with tempfile.TemporaryDirectory(dir=temporary if is_plain(temporary) else "/tmp") as folder:
        link = Path(folder, "it")
        link.symlink_to(os.path.abspath(path))
        yield str(link)
