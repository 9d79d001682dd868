"""Where the time of a training step goes: a profile of TensorFlow, summed by kind of work."""

from __future__ import annotations

import collections
import re
from pathlib import Path

import keras

# The first that matches the name or the type of an operation decides.
_KINDS = (
    ("convolutions", re.compile(r":\w*Conv2D")),
    ("quantizer", re.compile(r"quantizer|UnsortedSegmentSum")),
    ("biases and activations", re.compile(r"sequential|encoder|decoder")),
    ("Adam and clipping", re.compile(r"adam|clip|global_norm|ResourceApply|L2Loss", re.I)),
    ("input", re.compile(r"Iterator|Dataset|Gather|Map|Prefetch|Batch", re.I)),
)
_OPERATION = re.compile(r"^[\w./\-]+:_?[A-Z]\w+$")


def shares(folder: Path) -> dict[str, float]:
    """Share of the time of all operations that each kind took, the largest first."""
    # Part of TensorFlow, but not of its documented interface.
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace()
    space.ParseFromString(next(Path(folder).rglob("*.xplane.pb")).read_bytes())
    totals: collections.Counter[str] = collections.Counter()
    for plane in space.planes:
        names = {key: value.name for key, value in plane.event_metadata.items()}
        for line in plane.lines:
            for event in line.events:
                name = names[event.metadata_id]
                if _OPERATION.match(name) and not name.endswith((":While", ":If")):
                    totals[_kind(name)] += event.duration_ps
    everything = sum(totals.values())
    return {kind: time / everything for kind, time in totals.most_common()}


def _kind(name: str) -> str:
    return next((kind for kind, pattern in _KINDS if pattern.search(name)), "everything else")


def arithmetic(network: keras.Sequential, shape: tuple[int, ...]) -> tuple[float, float]:
    """What a forward pass of one image takes at least.

    Returns:
        (floating-point operations of the convolutions, values that the layers put out).
    """
    operations, values = 0.0, 0.0
    shape = (1, *shape)
    for layer in network.layers:
        if not layer.built:
            layer.build(shape)
        output = layer.compute_output_shape(shape)
        # A transposed convolution reads its kernel once per input position.
        transposed = isinstance(layer, keras.layers.Conv2DTranspose)
        _, height, width, _ = shape if transposed else output
        operations += 2.0 * height * width * layer.kernel.shape.num_elements()
        values += output[1] * output[2] * output[3]
        shape = output
    return operations, values
