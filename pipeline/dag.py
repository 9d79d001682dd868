"""The one pipeline definition, for the local runner and for Kubeflow.

ImageExampleGen ── StatisticsGen ── SchemaGen ── ExampleValidator ── DataGate
      └─ Transform ── Trainer[vqvae] ── Tokenizer ── Trainer[prior]
                           Baseline ── Evaluator ── Pusher ── Report
"""

from __future__ import annotations

import dataclasses
from typing import Literal, TypedDict

from tfx import v1 as tfx
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.types import Channel

from components.baseline.component import Baseline
from components.data_gate.component import DataGate
from components.data_gate.imported_schema import ImportedSchema
from components.evaluator import alignments, feature_model
from components.evaluator.component import ReconstructionEvaluator
from components.example_gen import layout
from components.example_gen.component import ImageExampleGen
from components.pusher.component import ReleasePusher
from components.statistics_gen.component import ImageStatisticsGen
from components.tokenizer.component import Tokenizer
from components.tokenizer.views import Views
from components.trainer.component import StageTrainer
from components.trainer.config import (
    Precision,
    PriorSettings,
    StrategyName,
    TrainerSettings,
    VQVAESettings,
)
from components.transform.component import ImageTransform
from models.config import NetworkConfig
from models.memory import images_at_once
from pipeline import component_ids as ids
from pipeline.code_fingerprint import code_fingerprint, code_of
from pipeline.config.config import Config
from pipeline.edges import edges
from pipeline.engines.arguments import beam_arguments
from pipeline.report.component import Report
from pipeline.report.executor import INPUTS as REPORTED

# What a file of pixels takes, about, where the configuration does not say how many it has.
_FILE_BYTES = 2**28
RUN_FNS = {stage: f"components.trainer.{stage}.run_fn" for stage in ids.TRAINERS}


@dataclasses.dataclass(frozen=True)
class Run:
    """Where one run reads and writes, and how it relates to the releases before it.

    Attributes:
        data: directory of TFRecords, or its URI.
        pipeline_root: directory of the artifacts.
        checkpoints: directory of the training checkpoints, or its URI.
        serving: the release store, or its URI.
        run_key: hash of all that the run depends on; a repetition has the same.
        baseline_version: release to compare with, 0 for none, -1 for the latest at run time.
        push_id: names this push, so that a rerun never releases the same candidate twice.
        data_fingerprint: of the files that the run was planned with; empty for whatever is there.
        data_left_out: which split of `data` is not read, and why; empty where all are.
        data_at_hand: whether `data` can be looked at now, for its layout; otherwise whoever
            runs ExampleGen does.
        rejected: local file for the list of unusable records; empty: they are in the log only.
    """

    data: str
    pipeline_root: str
    checkpoints: str
    serving: str
    run_key: str
    baseline_version: int
    push_id: str
    data_fingerprint: str = ""
    data_left_out: str = ""
    data_at_hand: bool = True
    rejected: str = ""


def create_pipeline(
    config: Config,
    run: Run,
    metadata: tfx.orchestration.metadata.ConnectionConfigType | None = None,
) -> tfx.dsl.Pipeline:
    """The pipeline of a configuration.

    Args:
        config: what to do.
        run: with which data, and where.
        metadata: connection to ML Metadata; runners that bring their own need none.

    Returns:
        A pipeline for `LocalDagRunner` and `KubeflowV2DagRunner` alike.
    """
    return tfx.dsl.Pipeline(
        pipeline_name=config.name,
        pipeline_root=run.pipeline_root,
        components=_components(config, run),
        enable_cache=config.runtime.cache,
        metadata_connection_config=metadata,
        beam_pipeline_args=beam_arguments(config.beam),
    )


def _components(config: Config, run: Run) -> list[BaseComponent]:
    image = config.data.image
    audio = config.data.audio if config.data.kind == "audio" else None
    look = layout.input_config_for if run.data_at_hand else layout.undecided
    found = look(run.data)
    example_gen = ImageExampleGen(
        found.input_base,
        found.input_config,
        found.output_config,
        audio=audio,
        fingerprint=run.data_fingerprint,
        features=config.data.features,
        max_rejected_fraction=config.data.max_rejected_fraction,
        records_per_file=config.data.records_per_file or max(1, _FILE_BYTES // image.size),
        rejected_path=run.rejected,
        code_version=code_of(ids.EXAMPLE_GEN),
    )
    data = _validation(config, example_gen.outputs["examples"])
    gate = data[-1]

    transform = ImageTransform(
        example_gen.outputs["examples"],
        data[1].outputs["schema"],
        kind=config.data.described,
        pixels=config.data.pixels,
        batch_size=config.data.transform_batch_size,
        code_version=code_of(ids.TRANSFORM),
    ).with_id(ids.TRANSFORM)
    transform.add_upstream_node(gate)
    transformed = transform.outputs["transformed_examples"]

    baseline = Baseline(
        serving_path=run.serving,
        image_shape=image.hwc,
        baseline_version=run.baseline_version,
        code_version=code_of(ids.BASELINE),
        audio=audio,
    )
    last_release = baseline.outputs["baseline_model"]
    begins_with = last_release if config.training.warm_start == "last_release" else None
    vqvae = _trainer("vqvae", transformed, transform, begins_with, _vqvae_settings(config, run))
    tokenizer = Tokenizer(
        transformed,
        vqvae.outputs["model"],
        num_codes=config.model.quantizer.num_codes,
        batch_size=images_at_once(config.network),
        views=_views(config),
        code_version=code_of(ids.TOKENIZER),
    )
    prior = _trainer(
        "prior",
        tokenizer.outputs["codes"],
        transform,
        begins_with,
        _prior_settings(config, run),
        base_model=vqvae.outputs["model"],
    )
    evaluator = ReconstructionEvaluator(
        transformed,
        prior.outputs["model"],
        config.gate,
        num_codes=config.model.quantizer.num_codes,
        codebooks=config.model.quantizer.depth,
        kind=config.data.described,
        batch_size=images_at_once(config.network, config.prior),
        baseline_model=last_release,
        features_fingerprint=_features(config, run),
        phones_fingerprint=_phones(config, run),
        code_version=code_of(ids.EVALUATOR),
    ).with_id(ids.EVALUATOR)
    pusher = ReleasePusher(
        prior.outputs["model"],
        evaluator.outputs["blessing"],
        evaluator.outputs["evaluation"],
        example_gen.outputs["examples"],
        serving_path=run.serving,
        config=config.model_dump_json(),
        push_id=run.push_id,
        baseline_model=last_release,
        rollout=config.release.rollout,
        run_key=run.run_key,
        baseline_version=run.baseline_version,
        code_version=code_fingerprint(),
    ).with_id(ids.PUSHER)
    made = [example_gen, *data, transform, vqvae, tokenizer, prior, baseline, evaluator, pusher]
    return [*made, _report(config, run, made)]


def _report(config: Config, run: Run, made: list[BaseComponent]) -> BaseComponent:
    outputs = {component.id: component.outputs for component in made}
    return Report(
        {name: outputs[component][output] for name, (component, output) in REPORTED.items()},
        edges(made),
        config=config.model_dump_json(),
        data=run.data,
        serving=run.serving,
        run_key=run.run_key,
        push_id=run.push_id,
        pipeline_code=code_fingerprint(),
        code_version=code_of(ids.REPORT),
    ).with_id(ids.REPORT)


def _validation(config: Config, examples: Channel) -> list[BaseComponent]:
    """Statistics, schema, anomalies, and the gate that stops the run on them, in this order."""
    statistics = ImageStatisticsGen(examples, code_version=code_of(ids.STATISTICS_GEN)).with_id(
        ids.STATISTICS_GEN
    )
    if config.data.schema_path:
        schema = ImportedSchema(config.data.schema_path).with_id(ids.IMPORT_SCHEMA_GEN)
    else:
        schema = tfx.components.SchemaGen(
            statistics=statistics.outputs["statistics"], infer_feature_shape=False
        )
    validator = tfx.components.ExampleValidator(
        statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"]
    )
    gate = DataGate(
        validator.outputs["anomalies"],
        statistics.outputs["statistics"],
        code_version=code_of(ids.DATA_GATE),
    )
    return [statistics, schema, validator, gate]


def _features(config: Config, run: Run) -> str:
    """Fingerprint of the network that makes features, where it can be looked at now."""
    uri = config.gate.features
    if uri is None:
        return ""
    if run.data_at_hand:  # before hours of training, not after
        feature_model.check(uri, config.data.image.hwc)
    return feature_model.fingerprint(uri)


def _phones(config: Config, run: Run) -> str:
    """Fingerprint of who says which phone when, where it can be looked at now."""
    path = config.gate.phones
    if path is None:
        return ""
    if run.data_at_hand:  # before hours of training, not after
        alignments.read(path)
    return alignments.fingerprint(path)


def _views(config: Config) -> Views | None:
    """Of a training image, for the prior; None for the image alone."""
    stage = config.training.prior
    if stage.views == 1:
        return None
    return Views(count=stage.views, flip=stage.flip, shift=stage.shift, seed=config.training.seed)


def _trainer(
    stage: str,
    examples: Channel,
    transform: ImageTransform,
    begins_with: Channel | None,
    settings: TrainerSettings,
    base_model: Channel | None = None,
) -> BaseComponent:
    return StageTrainer(
        RUN_FNS[stage],
        examples,
        transform.outputs["transform_graph"],
        settings,
        base_model=base_model,
        baseline_model=begins_with,
    ).with_id(ids.TRAINERS[stage])


def trainer_settings(stage: str, config: Config, run: Run) -> TrainerSettings:
    """What the Trainer of a stage, `vqvae` or `prior`, is given."""
    return {"vqvae": _vqvae_settings, "prior": _prior_settings}[stage](config, run)


def _vqvae_settings(config: Config, run: Run) -> VQVAESettings:
    return VQVAESettings(
        stage=config.training.vqvae,
        code_version=code_of(ids.TRAINERS["vqvae"]),
        **_shared_settings(config, run),
    )


def _prior_settings(config: Config, run: Run) -> PriorSettings:
    return PriorSettings(
        stage=config.training.prior,
        prior=config.prior,
        kind=config.data.described,
        code_version=code_of(ids.TRAINERS["prior"]),
        **_shared_settings(config, run),
    )


class _SharedSettings(TypedDict):
    """What a Trainer is given of either stage."""

    network: NetworkConfig
    seed: int
    cache_mib: int
    shuffle_mib: int
    warm_start: bool
    strategy: StrategyName
    mixed_precision: Precision
    steps_per_call: int
    recompute: bool
    jit_compile: bool | Literal["auto"]
    deterministic: bool | Literal["auto"]
    checkpoints: str


def _shared_settings(config: Config, run: Run) -> _SharedSettings:
    return {
        "network": config.network,
        "seed": config.training.seed,
        "cache_mib": config.training.cache_mib,
        "shuffle_mib": config.training.shuffle_mib,
        "warm_start": config.training.warm_start == "last_release",
        "strategy": config.training.strategy,
        "mixed_precision": config.training.mixed_precision,
        "steps_per_call": config.training.steps_per_call,
        "recompute": config.training.recompute,
        "jit_compile": config.runtime.jit_compile,
        "deterministic": config.runtime.deterministic,
        "checkpoints": run.checkpoints,
    }
