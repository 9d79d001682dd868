"""Copies of the state on two devices, and steps that are compiled or cut into parts."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests import ROOT


@pytest.fixture(scope="module")
def found() -> Callable[[str], dict]:
    """Stage -> what the program says of it."""

    @functools.cache
    def run(stage: str) -> dict:
        result = subprocess.run(
            [sys.executable, "-m", "tests.fixtures.copies_program", stage],
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
            cwd=ROOT,
            capture_output=True,
        )
        assert result.returncode == 0, result.stderr.decode()[-3000:]
        return json.loads(result.stdout)

    return run


STAGES = pytest.mark.parametrize("stage", ["vqvae", pytest.param("prior", marks=pytest.mark.slow)])


def test_a_codebook_that_each_replica_placed_for_itself_is_found(found):
    message = found("vqvae")["differing"]["message"]
    assert message.startswith("vqvae: at step 0 replica 1 has another ")
    assert "embedding than replica 0" in message


def test_the_first_replica_hands_its_state_on(found):
    assert found("vqvae")["differing"]["same"]


def test_replicas_drop_other_channels(found):
    one, other = found("vqvae")["masks"]
    assert one != other


@STAGES
def test_compiled_steps_are_plain_ones_to_rounding(found, stage):
    assert found(stage)["compiled"] < 1e-3
    assert found(stage)["compiled on two"] < 1e-3


@STAGES
def test_copies_stay_equal_to_the_bit(found, stage):
    assert found(stage)["copies equal"]


def test_a_batch_in_parts_is_the_same_step(found):
    assert found("vqvae")["in parts"] < 1e-3


def test_parts_replicas_and_compiling_together(found):
    assert found("vqvae")["on two"] < 1e-3
    assert found("vqvae")["compiled on two"] < 1e-3  # in two parts, too
