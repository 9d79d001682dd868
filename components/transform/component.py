"""ImageTransform: images or sound become pixels, and the graph that serving does it with."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.features import Pixels
from components.kinds import AudioKind, ImageKind
from components.transform.executor import Executor


class ImageTransformSpec(types.ComponentSpec):
    """Interface of `ImageTransform`."""

    PARAMETERS = {
        "kind": component_spec.ExecutionParameter(type=str),
        "pixels": component_spec.ExecutionParameter(type=str),
        "batch_size": component_spec.ExecutionParameter(type=int),
        "code_version": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "schema": component_spec.ChannelParameter(type=standard_artifacts.Schema),
    }
    OUTPUTS = {
        "transform_graph": component_spec.ChannelParameter(type=standard_artifacts.TransformGraph),
        "transformed_examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
    }


class ImageTransform(base_beam_component.BaseBeamComponent):
    """Decodes every image once, crops and resizes it, and counts and sums up what comes out.

    Of sound it makes spectrograms.

    TFX's own Transform decodes every image twice, first to analyze and then to write. Here the
    sums that mean and variance follow from are made of the pixels that are written. The graph is
    tf.Transform's, as everywhere in TFX.

    Component `outputs` contains:
     - `transform_graph`: `standard_artifacts.TransformGraph`, from what is encoded to pixels.
     - `transformed_examples`: `standard_artifacts.Examples` of the same splits, each record with
       `image` (H·W·C raw uint8 bytes, or encoded), `label` (-1 where none) and what its kind
       passes on (`components.kinds`); and `contents.json` (`components.contents`).
    """

    SPEC_CLASS = ImageTransformSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        schema: types.BaseChannel,
        *,
        kind: ImageKind | AudioKind,
        batch_size: int,
        code_version: str,
        pixels: Pixels = "stored",
    ) -> None:
        """Args:
        examples: that all decode, as ImageExampleGen writes them.
        schema: of those examples.
        kind: what the records hold, and what becomes of it.
        batch_size: records decoded at a time, which bounds memory.
        code_version: of our sources; part of the cache key.
        pixels: whether records hold raw pixels or the encoded images, which whoever reads them
            decodes by the same graph.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be positive. Received: {batch_size}")
        super().__init__(
            ImageTransformSpec(
                examples=examples,
                schema=schema,
                kind=kind.model_dump_json(),
                pixels=pixels,
                batch_size=batch_size,
                code_version=code_version,
                transform_graph=types.Channel(type=standard_artifacts.TransformGraph),
                transformed_examples=types.Channel(type=standard_artifacts.Examples),
            )
        )
