"""ImageTransform: TFX's Transform with a bound on the images it holds at a time."""

from __future__ import annotations

from tfx import types
from tfx.components.transform import component
from tfx.dsl.components.base import executor_spec

from components.transform.executor import BATCH_SIZE, Executor


class ImageTransform(component.Transform):
    """Runs a preprocessing function over batches of at most `batch_size` records.

    Statistics before and after are not computed: of encoded images and raw pixels they say
    nothing. The analyzer cache is off, for it would need a resolver to be found again.
    Component `outputs` are those of TFX's Transform.
    """

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        schema: types.BaseChannel,
        preprocessing_fn: str,
        *,
        image: dict[str, int],
        batch_size: int,
        code_version: str,
    ) -> None:
        """Args:
        examples: with splits `train`, which is analyzed, and others.
        schema: of those examples.
        preprocessing_fn: dotted path of the function.
        image: height, width (pixels) and channels, given to the function.
        batch_size: records decoded at a time, which bounds memory.
        code_version: of our sources; part of the cache key.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be positive. Received: {batch_size}")
        super().__init__(
            examples=examples,
            schema=schema,
            preprocessing_fn=preprocessing_fn,
            custom_config={"image": image, BATCH_SIZE: batch_size, "code_version": code_version},
            disable_analyzer_cache=True,
            disable_statistics=True,
        )
