"""Tokenizer: every image becomes its codes, once, so that the prior never runs the encoder."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.tokenizer import executor
from components.tokenizer.views import Views


class TokenizerSpec(types.ComponentSpec):
    """Interface of `Tokenizer`."""

    PARAMETERS = {
        "num_codes": component_spec.ExecutionParameter(type=int),
        "batch_size": component_spec.ExecutionParameter(type=int),
        "views": component_spec.ExecutionParameter(type=str),
        "code_version": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
    }
    OUTPUTS = {
        "codes": component_spec.ChannelParameter(type=standard_artifacts.Examples),
    }


class Tokenizer(base_beam_component.BaseBeamComponent):
    """Encodes the images of every split with the trained VQ-VAE.

    Output `codes`: Examples of the same splits, each record with `codes` (raw integers of
    `components.features.code_dtype`) and the image's `label`.
    """

    SPEC_CLASS = TokenizerSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        model: types.BaseChannel,
        num_codes: int,
        batch_size: int = 256,
        views: Views | None = None,
        code_version: str = "",
    ):
        """Makes the component.

        Args:
            examples: transformed Examples.
            model: a SavedModel with the signature `pixels`.
            num_codes: K, size of the codebook; it decides how many bytes a code takes.
            batch_size: images per call of the model, which bounds the memory.
            views: of the training images, each with a record of its own; by default the image
                alone.
            code_version: changes when the code does, so that no stale result is reused.
        """
        super().__init__(
            spec=TokenizerSpec(
                num_codes=num_codes,
                batch_size=batch_size,
                views=(views or Views()).model_dump_json(),
                code_version=code_version,
                examples=examples,
                model=model,
                codes=types.Channel(type=standard_artifacts.Examples),
            )
        )
