"""`vqvae train`: one training by itself, on records that a run has prepared."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import click

from components.errors import PipelineError
from components.literal_paths import plain
from pipeline.commands.options import config_option, overrides_option
from pipeline.config import config as configuration
from pipeline.config.config import Config
from pipeline.local import run_lock
from pipeline.local.root import Root
from pipeline.user_path import UserPath


@click.command()
@click.argument("stage", type=click.Choice(["vqvae", "prior"]))
@config_option
@click.option(
    "--data",
    required=True,
    type=UserPath(path_type=Path, exists=True, file_okay=False),
    help="What Transform wrote (vqvae) or the Tokenizer (prior), with Split-train and Split-eval.",
)
@click.option(
    "--out",
    required=True,
    type=UserPath(path_type=Path, file_okay=False),
    help="For the model, its logs and checkpoints.",
)
@click.option(
    "--vqvae",
    type=UserPath(path_type=Path, exists=True, file_okay=False),
    help="prior: the model that the codes come from, of Trainer-vqvae or of `vqvae train vqvae`.",
)
@click.option(
    "--transform-graph",
    type=UserPath(path_type=Path, exists=True, file_okay=False),
    help="prior: what Transform wrote; part of the exported encoder.",
)
@overrides_option
@click.option("--verbose", is_flag=True, help="Show the logs of TensorFlow.")
def train(
    stage: str,
    config: str,
    data: Path,
    out: Path,
    vqvae: Path | None,
    transform_graph: Path | None,
    overrides: tuple[str, ...],
    verbose: bool,
) -> None:
    """Fits the VQ-VAE or the prior outside TFX, with the run function of the pipeline's Trainer.

    With TF_CONFIG set, one process per worker trains together; only the first writes the model.
    Given again, the command goes on from its last checkpoint.
    """
    settings = configuration.load(config, overrides)
    if stage == "prior" and (vqvae is None or transform_graph is None):
        raise click.UsageError("the prior also needs --vqvae and --transform-graph")
    from pipeline.commands.run import screen

    out = out.absolute()
    lock = run_lock.held(Root(out).lock) if _writes() else contextlib.nullcontext()
    with lock, screen(out / "train.log", verbose) as console:
        from components.trainer.progress import LOGGER
        from pipeline.commands.display import RunDisplay

        display = RunDisplay(console)
        LOGGER.addHandler(display)
        try:
            _fit(stage, settings, data.absolute(), out, vqvae, transform_graph)
        finally:
            LOGGER.removeHandler(display)
        console.print(f"model {out}")


def _writes() -> bool:
    """Whether this process is the only one, or the worker that writes for all."""
    try:
        config = json.loads(os.environ.get("TF_CONFIG") or "{}")
        task, chief = config.get("task", {}), "chief" in config.get("cluster", {})
        first = task.get("type") == "chief" if chief else not task.get("index")
    except (ValueError, AttributeError, TypeError):
        return True  # the training will say what is wrong with it
    return first


def _fit(
    stage: str,
    config: Config,
    data: Path,
    out: Path,
    base_model: Path | None,
    transform_graph: Path | None,
) -> None:
    from tfx.components.trainer.fn_args_utils import FnArgs
    from tfx.utils import path_utils

    from components.trainer import prior, vqvae
    from pipeline.dag import Run, trainer_settings

    if not (data / "Split-train").is_dir():
        raise PipelineError(
            f"--data {data}: no Split-train in it; name an artifact of Transform or the Tokenizer, "
            "such as runs/digits/pipeline/Transform/transformed_examples/7"
        )
    place = Root(out).plain()
    with contextlib.ExitStack() as stack:
        # What TensorFlow would take for a pattern, or not at all, it sees under another name.
        def seen(path: Path) -> str:
            return stack.enter_context(plain(path.absolute()))

        records = seen(data)
        model = seen(base_model) if base_model else None
        graph = seen(transform_graph) if transform_graph else None
        run = Run(
            data=records,
            pipeline_root=str(place.path),
            checkpoints=str(place.checkpoints),
            serving=str(place.serving),
            run_key="",
            baseline_version=0,
            push_id="",
        )
        run_fn = {"vqvae": vqvae.run_fn, "prior": prior.run_fn}[stage]
        run_fn(
            FnArgs(
                train_files=[f"{records}/Split-train/*"],
                eval_files=[f"{records}/Split-eval/*"],
                serving_model_dir=path_utils.serving_model_dir(str(place.path)),
                model_run_dir=str(place.path / "logs"),
                base_model=path_utils.serving_model_dir(model) if model else None,
                transform_graph_path=graph,
                custom_config={
                    "settings": trainer_settings(stage, config, run).model_dump_json(),
                },
            )
        )
