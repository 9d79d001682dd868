"""YAML that says something else than its author thinks is refused."""

from __future__ import annotations

import pytest
import yaml

from pipeline.config import config, strict_yaml
from pipeline.config.config import ConfigError

TINY = "name: tiny\ndata:\n  image: {height: 8, width: 8, channels: 1}\n"


def refused(tmp_path, text: str) -> str:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        config.load(path)
    return str(error.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TINY + "data: {max_rejected_fraction: 1}\n", "line 4: 'data' is there already, in line 2"),
        (
            TINY
            + "gate:\n  thresholds:\n    nmse: {max: 1}\n    psnr: {min: 1}\n    nmse: {max: 2}\n",
            "line 8: 'nmse' is there already, in line 6",
        ),
        (TINY + "release: {path: a, 'path': b}\n", "line 4: 'path' is there already, in line 4"),
    ],
)
def test_a_key_stands_once(tmp_path, text, said):
    assert refused(tmp_path, text) == f"{said}; join the two or remove one"


def test_a_key_in_a_given_value_stands_once():
    with pytest.raises(ConfigError, match=r"--set gate.*'nmse' is there already, in line 1"):
        config.load("digits", ("gate.thresholds={nmse: {max: 1}, nmse: {max: 2}}",))


def test_merged_keys_may_be_replaced():
    text = "b: &b {x: 1, y: 2}\na: {n: &a {<<: *b, x: 3}}\nc: {<<: *a, y: 5}\n"
    loaded = strict_yaml.load(text)
    assert loaded["a"] == {"n": {"x": 3, "y": 2}}
    assert loaded["c"] == {"x": 3, "y": 5}


@pytest.mark.parametrize(
    ("number", "mend"),
    [
        ("010", "YAML reads 010 as 8; write 10, or 8 if that is meant, or '010' for text"),
        ("-0777", "YAML reads -0777 as -511; write -777, or -511 if that is meant"),
        ("1:30", "YAML reads 1:30 as 90; write 90 if that is meant, or '1:30' for text"),
        ("1:30.5", "YAML reads 1:30.5 as 90.5"),
    ],
)
def test_numbers_that_are_misread_are_refused(tmp_path, number, mend):
    said = refused(tmp_path, TINY + f"training:\n  seed: {number}\n")
    assert said.startswith("line 5: " + mend)
    with pytest.raises(ConfigError, match=r"--set training\.seed"):
        config.load("digits", (f"training.seed={number}",))


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("10", 10), ("1_000", 1000), ("0x10", 16), ("1.5e-3", 0.0015), ("'010'", "010")],
)
def test_other_numbers_are_what_they_were(text, value):
    assert strict_yaml.load(text) == value == yaml.safe_load(text)


def test_a_word_for_true_is_no_number(tmp_path):
    said = refused(tmp_path, TINY + "training:\n  vqvae:\n    steps: yes\n")
    assert said == (
        "training.vqvae: steps is a number; YAML reads yes, no, on and off as true and false. "
        "Received: true"
    )
    assert "release.path: input should be a valid string" in refused(
        tmp_path, TINY + "release: {path: on}\n"
    )
    # Where both are meant, both may stand.
    assert config.load("digits", ("runtime.jit_compile=yes",)).runtime.jit_compile is True


def test_an_empty_section_has_its_defaults(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(TINY + "release:\ngate:\n  thresholds:\ntraining:\n  vqvae:\nkubeflow:\n")
    bare = tmp_path / "bare.yaml"
    bare.write_text(TINY)
    assert config.load(path) == config.load(bare)
    assert refused(tmp_path, "name: tiny\ndata:\n") == "data is missing"
