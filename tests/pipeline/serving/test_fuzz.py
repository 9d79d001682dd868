"""The decoders that strangers reach, REST bodies and images, against inputs nobody thought of."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf

from models.images import preprocess_images
from pipeline.inference import errors
from pipeline.serving import json_tensors
from pipeline.serving.errors import RequestError
from pipeline.serving.spec import Spec
from tests.fixtures.fuzzing import Corpus

CORPUS = Path(__file__).with_name("corpus")
MAX_ROWS = 100
FUZZ_SECONDS = 10.0


_DTYPES = {"s": object, "i": np.int32, "l": np.int64, "f": np.float32, "u": np.uint8}


def _specs(**inputs: tuple) -> dict[str, Spec]:
    return {
        name: Spec(name, np.dtype(_DTYPES[kind]), tuple(shape))
        for name, (kind, *shape) in inputs.items()
    }


SIGNATURES = {
    "serving_default": _specs(images=("s", None)),
    "pixels": _specs(images=("u", None, 2, 2, 1)),
    "decode": _specs(codes=("i", None, 2, 2)),
    "sample": _specs(labels=("i", None), seed=("l",), temperature=("f",)),
}


def judge_body(body: bytes) -> str:
    """Either arrays just as the signature says, or INVALID_ARGUMENT in one line; and soon."""
    start = time.monotonic()
    try:
        request = json_tensors.decode(body, SIGNATURES, MAX_ROWS)
    except RequestError as error:
        fair = error.code == grpc.StatusCode.INVALID_ARGUMENT and 0 < len(error.message) < 600
        return error.message if fair else pytest.fail(f"{error.code} {error.message}")
    finally:
        assert time.monotonic() - start < 60
    specs = SIGNATURES.get(request.signature_name or "serving_default")
    if specs is None:
        return "no such signature"
    assert request.inputs.keys() == specs.keys()
    for name, array in request.inputs.items():
        assert (array.dtype, array.ndim) == (specs[name].dtype, len(specs[name].shape))
        tf.constant(array, tf.as_dtype(array.dtype))
    numbers = {name: each for name, each in request.inputs.items() if each.dtype != object}
    if numbers:
        assert json_tensors.to_json(numbers, by_row=False)
    return f"{request.signature_name} {request.by_row}"


@tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
def decode(images):
    return preprocess_images(images, (8, 8, 3))


def judge_image(data: bytes) -> str:
    """Either pixels, or INVALID_ARGUMENT; and soon."""
    start = time.monotonic()
    try:
        pixels = decode(tf.constant([data]))
    except tf.errors.InvalidArgumentError as error:
        message = errors.message(error)
        assert "\n" not in message
        return message
    finally:
        assert time.monotonic() - start < 60
    assert pixels.shape == (1, 8, 8, 3)
    return f"{data[:2]!r} {np.unique(pixels.numpy()).size > 1}"


TARGETS = {
    "rest": (
        judge_body,
        [
            *(b"{", b"}", b"[", b"]", b",", b":", b'"', b"null", b"true", b"-1", b"1.5", b"1e999"),
            *(b'"inputs":', b'"instances":', b'"signature_name":', b'{"b64":"aGk="}', b'"decode"'),
            *(b'"sample"', b'"pixels"', b"99999999999999999999", b"\\u0000", b"\xff", b"[[[[["),
        ],
    ),
    "images": (
        judge_image,
        [
            *(b"\x89PNG\r\n\x1a\n", b"IHDR", b"IDAT", b"IEND", b"PLTE", b"tRNS", b"iCCP", b"zTXt"),
            *(b"\xff\xd8", b"\xff\xd9", b"\xff\xc0", b"\xff\xc2", b"\xff\xc4", b"\xff\xda"),
            *(b"\xff\xe1", b"Exif\0\0", b"MM\0*", b"II*\0", b"\xff\xdb", b"\xff\xdd"),
        ],
    ),
}


def corpus(target: str, folder: Path) -> Corpus:
    judge, words = TARGETS[target]
    return Corpus(folder / target, words, judge)


@pytest.mark.parametrize("target", TARGETS)
def test_whatever_was_found_before_is_still_answered(target):
    assert len(corpus(target, CORPUS).replay()) > 5


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_inputs_that_nobody_thought_of(target, tmp_path):
    shutil.copytree(CORPUS, tmp_path / "corpus")
    tried, _ = corpus(target, tmp_path / "corpus").fuzz(
        FUZZ_SECONDS, seed=time.time_ns(), keep=True
    )
    assert tried


if __name__ == "__main__":
    for name in TARGETS:
        tried, new = corpus(name, CORPUS).fuzz(float(sys.argv[1]), seed=time.time_ns(), keep=True)
        print(f"{name}: {tried:,} inputs, {new} kept", flush=True)
