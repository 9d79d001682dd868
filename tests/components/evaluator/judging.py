"""Runs the Evaluator as TFX would."""

from tfx.types import standard_artifacts

from components.baseline.artifact import BaselineInfo, write
from components.evaluator import executor, results
from components.evaluator.gate import GateConfig
from components.kinds import ImageKind
from models.config import ImageShape

_AXES = ("height", "width", "channels")


def of_images(shape):
    """Data of images of H, W, C."""
    return ImageKind(image=ImageShape.model_validate(dict(zip(_AXES, shape, strict=True))))


def judge(
    folder, examples, model, gate, image=None, baseline=None, num_codes=16, batch_size=3, kind=None
):
    """Judges a model on the split `eval`.

    Args:
        folder: for the outputs.
        examples, model, baseline: artifacts.
        gate: the section of the configuration.
        image: H, W, C; or else
        kind: of the data.

    Returns:
        (Evaluation, blessing artifact).
    """
    evaluation, blessing = (
        standard_artifacts.ModelEvaluation(),
        standard_artifacts.ModelBlessing(),
    )
    evaluation.uri, blessing.uri = str(folder / "evaluation"), str(folder / "blessing")
    inputs = {"examples": [examples], "model": [model]}
    if baseline is not None:
        inputs["baseline_model"] = [baseline]
    properties = {
        "gate": GateConfig.model_validate(gate).model_dump_json(),
        "num_codes": num_codes,
        "codebooks": 1,
        "kind": (kind or of_images(image)).model_dump_json(),
        "batch_size": batch_size,
        "example_splits": '["eval"]',
        "features_fingerprint": "",
        "code_version": "",
    }
    outputs = {"evaluation": [evaluation], "blessing": [blessing]}
    executor.Executor().Do(inputs, outputs, properties)
    return results.read(evaluation.uri), blessing


def as_baseline(model, version, reason=""):
    """The model as the output of the Baseline component."""
    write(model.uri, BaselineInfo(version, reason, copied=version))
    return model
