"""A pipeline whose data, releases and cache are real, and whose models are made without training.

No `from __future__ import annotations` here: TFX reads the annotations of its components.
"""

import json
import math
import shutil
import uuid
from pathlib import Path

import tiny_models
from tfx import v1 as tfx
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts

from components.baseline.component import Baseline
from components.evaluator.results import Evaluation
from components.example_gen import layout
from components.example_gen.component import ImageExampleGen
from components.pusher.component import ReleasePusher

# To be given to `vqvae run`: models are of the shape of `tiny_models`.
CONFIG = """
name: tiny
data:
  image: {height: 4, width: 6, channels: 1}
model:
  encoder: {downsampling: 2}
"""


@component
def Candidate(
    examples: InputArtifact[standard_artifacts.Examples],
    model: OutputArtifact[standard_artifacts.Model],
    built: Parameter[str],
):
    """As a training does it, this makes other weights each time."""
    shutil.copytree(built, model.uri, dirs_exist_ok=True)
    Path(model.uri, "release", "encode", "assets", "weights").write_text(uuid.uuid4().hex)


@component
def Judge(
    model: InputArtifact[standard_artifacts.Model],
    baseline: InputArtifact[standard_artifacts.Model],
    evaluation: OutputArtifact[standard_artifacts.ModelEvaluation],
    blessing: OutputArtifact[standard_artifacts.ModelBlessing],
):
    """Blesses every candidate."""
    blessing.set_int_custom_property("blessed", 1)


BLESSED = Evaluation(
    metrics={"nmse": 0.5, "psnr": math.nan},
    by_label={},
    baseline=None,
    baseline_version=0,
    baseline_reason="not compared",
    checks=[],
    blessed=True,
)


class UntrainedPipeline:
    """Stands in for `pipeline.dag.create_pipeline`; components have the names they have there."""

    def __init__(self, folder: Path):
        self._built = folder
        exported = tiny_models.write(folder / "release")
        exported["evaluate"].rename(folder / "Format-Serving")
        facts = {"codebook_sha256": "a", "image": list(tiny_models.SHAPE)}
        (folder / "release/model.json").write_text(json.dumps(facts))

    def __call__(self, config, run, metadata):
        found = layout.input_config_for(run.data)
        example_gen = ImageExampleGen(
            *found[:3], fingerprint=run.data_fingerprint, code_version="1"
        )
        candidate = Candidate(
            examples=example_gen.outputs["examples"], built=str(self._built)
        ).with_id("Trainer-prior")
        baseline = Baseline(run.serving, tiny_models.SHAPE, run.baseline_version, "1")
        judge = Judge(
            model=candidate.outputs["model"], baseline=baseline.outputs["baseline_model"]
        ).with_id("Evaluator")
        pusher = ReleasePusher(
            model=candidate.outputs["model"],
            model_blessing=judge.outputs["blessing"],
            evaluation=judge.outputs["evaluation"],
            examples=example_gen.outputs["examples"],
            baseline_model=baseline.outputs["baseline_model"],
            serving_path=run.serving,
            config=config.model_dump_json(),
            run_key=run.run_key,
            push_id=run.push_id,
            baseline_version=run.baseline_version,
            code_version="1",
        ).with_id("Pusher")
        return tfx.dsl.Pipeline(
            pipeline_name=config.name,
            pipeline_root=run.pipeline_root,
            components=[example_gen, candidate, baseline, judge, pusher],
            enable_cache=config.runtime.cache,
            metadata_connection_config=metadata,
        )
