"""The file that tells TensorFlow Serving how to put requests of a model together."""

from __future__ import annotations

from pathlib import Path

# Models whose inputs all begin with a row per image. `sample` takes its seed and temperature as
# scalars, one of each for a whole request, so that two requests cannot become one.
BATCHED = ("encode", "decode")

# Rows of the largest batch that is run, and of the largest request that is taken. The shapes that
# a batch is padded to are the powers of two up to it.
LARGEST = 64

_FILE = "batching_params.pbtxt"
# A request waits this long for others: little beside a run of the model, enough for a burst.
_TIMEOUT_MICROS = 2000
# Full batches that may wait; requests beyond are refused as UNAVAILABLE, not kept for ever.
_ENQUEUED = 64


def render() -> str:
    """Text of `batching_params.pbtxt`, a `tensorflow.serving.BatchingParameters`.

    A server started with `--enable_batching --enable_per_model_batching_parameters` reads it
    from a model's folder. Its last allowed size must be both `max_batch_size` and
    `max_execution_batch_size`, of which one or the other is checked by version. The number of
    threads is not for a model to say: the models of a server share them.
    """
    sizes = [2**exponent for exponent in range(LARGEST.bit_length())]
    lines = [
        f"max_batch_size {{ value: {LARGEST} }}",
        f"batch_timeout_micros {{ value: {_TIMEOUT_MICROS} }}",
        f"max_enqueued_batches {{ value: {_ENQUEUED} }}",
        *(f"allowed_batch_sizes: {size}" for size in sizes),
        "pad_variable_length_inputs: false",
        # A request that does not fit into what is left of a batch is divided.
        "enable_large_batch_splitting { value: true }",
        f"max_execution_batch_size {{ value: {LARGEST} }}",
    ]
    return "\n".join(lines) + "\n"


def write(release: Path) -> None:
    """Writes the file into the folders of a release's models that can be batched."""
    for model in BATCHED:
        (release / model / _FILE).write_text(render(), encoding="utf-8")
