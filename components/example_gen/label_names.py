"""What labels are called, where the data come with a description that says so."""

from __future__ import annotations

import json
import os

from tfx.dsl.io import fileio

FILE = "dataset.json"  # as `vqvae data` writes it beside the records
# Custom property of the Examples artifact: a JSON list.
PROPERTY = "label_names"
# Of all names as JSON; what is longer is left out, as it would go into every manifest.
_MOST_CHARACTERS = 2**16


def label_names(input_base: str) -> str:
    """The names of labels 0, 1, … as a JSON list; empty where nobody says them."""
    path = os.path.join(input_base, FILE)
    try:
        if not fileio.exists(path):
            return ""
        with fileio.open(path) as file:
            names = json.load(file)["label_names"]
    except (OSError, ValueError, KeyError, TypeError):  # another file of that name
        return ""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return ""
    told = json.dumps(names)
    return told if names and len(told) <= _MOST_CHARACTERS else ""
