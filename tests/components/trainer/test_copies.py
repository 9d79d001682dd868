"""Copies of the state on two devices, and steps that are compiled or cut into parts."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests import ROOT


@pytest.fixture(scope="module")
def found() -> dict:
    result = subprocess.run(
        [sys.executable, "-m", "tests.fixtures.copies_program"],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        cwd=ROOT,
        capture_output=True,
    )
    assert result.returncode == 0, result.stderr.decode()[-3000:]
    return json.loads(result.stdout)


def test_a_codebook_that_each_replica_placed_for_itself_is_found(found):
    message = found["differing"]["message"]
    assert message.startswith("vqvae: at step 0 replica 1 has another ")
    assert "embedding than replica 0" in message


def test_the_first_replica_hands_its_state_on(found):
    assert found["differing"]["same"]


def test_replicas_drop_other_channels(found):
    one, other = found["masks"]
    assert one != other


@pytest.mark.parametrize("stage", ["vqvae", "prior"])
def test_compiled_steps_are_plain_ones_to_rounding(found, stage):
    assert found[stage]["compiled"] < 1e-3
    assert found[stage]["compiled on two"] < 1e-3


@pytest.mark.parametrize("stage", ["vqvae", "prior"])
def test_copies_stay_equal_to_the_bit(found, stage):
    assert found[stage]["copies equal"]


def test_a_batch_in_parts_is_the_same_step(found):
    assert found["vqvae"]["in parts"] < 1e-3


def test_parts_replicas_and_compiling_together(found):
    assert found["vqvae"]["on two"] < 1e-3
    assert found["vqvae"]["compiled on two"] < 1e-3  # in two parts, too
