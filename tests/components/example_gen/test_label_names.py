"""Names of labels that lie beside the data."""

from __future__ import annotations

import json

import pytest

from components.example_gen.label_names import label_names


@pytest.mark.parametrize(
    ("described", "names"),
    [
        ('{"label_names": ["Ä", "b"], "name": "folder"}', ["Ä", "b"]),
        ('{"label_names": null}', None),
        ('{"label_names": []}', None),
        ('{"label_names": [1]}', None),
        ('{"label_names": "ab"}', None),
        (json.dumps({"label_names": ["x" * 100] * 1000}), None),
        ("{}", None),
        ("[]", None),
        ("no JSON", None),
        (b"\xff\xfe", None),
        (None, None),
    ],
)
def test_what_is_told_and_what_is_passed_over(tmp_path, described, names):
    if described is not None:
        data = described if isinstance(described, bytes) else described.encode()
        (tmp_path / "dataset.json").write_bytes(data)
    told = label_names(str(tmp_path))
    assert (json.loads(told) if told else None) == names
