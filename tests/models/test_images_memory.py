"""Memory of a batch of images that are small files and large pictures."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests import ROOT

# Prints by how many MiB the peak of the process grows with a batch of such images. More threads
# than this machine may have, so that all images could be decoded at a time.
PROGRAM = """
import resource
import sys
import tensorflow as tf
from models.images import preprocess_images

tf.config.threading.set_inter_op_parallelism_threads(12)

@tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
def preprocess(encoded):
    return preprocess_images(encoded, (8, 8, 1))

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

side, count = map(int, sys.argv[1:])
large = tf.io.encode_png(tf.zeros([side, side, 1], tf.uint8))
small = tf.io.encode_png(tf.zeros([8, 8, 1], tf.uint8))
preprocess(tf.stack([small, large]))
before = peak()
assert preprocess(tf.stack([large, small] * count)).shape == (2 * count, 8, 8, 1)
print(peak() - before)
"""


def growth(side: int, count: int) -> float:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(side), str(count)],
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=1200,
    )
    return float(done.stdout)


@pytest.mark.slow
def test_large_images_of_a_batch_are_decoded_one_at_a_time():
    # Each takes some 110 MiB, of which the first is in the peak already.
    assert growth(4000, 12) < 110
