"""`vqvae compile`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from components import durable_files
from kubeflow.compiler.backends import BACKENDS, NEWEST
from pipeline.commands.options import config_option, overrides_option
from pipeline.user_path import UserPath


@click.command("compile")
@config_option
@overrides_option
@click.option("--image", required=True, metavar="REF@sha256:…", help="Container image by digest.")
@click.option("--data", required=True, metavar="URI", help="Image TFRecords; may hold {SPAN}.")
@click.option("--serving", required=True, metavar="URI", help="Release store.")
@click.option(
    "--checkpoints",
    metavar="URI",
    help="Training checkpoints, which outlive a run.  [default: `checkpoints` beside --serving]",
)
@click.option(
    "--pipeline-root",
    default="",
    metavar="URI",
    help="Artifacts of the runs.  [default: what the cluster is set up with]",
)
@click.option(
    "--backend-version",
    type=click.Choice(BACKENDS),
    default=NEWEST,
    show_default=True,
    help="Kubeflow Pipelines that is to run it.",
)
@click.option(
    "--out",
    type=UserPath(path_type=Path, dir_okay=False),
    default=Path("pipeline.yaml"),
    show_default=True,
    help="File to write.",
)
def compile_command(
    config: str,
    overrides: tuple[str, ...],
    image: str,
    data: str,
    serving: str,
    checkpoints: str | None,
    pipeline_root: str,
    backend_version: str,
    out: Path,
) -> None:
    """Compiles the pipeline for open-source Kubeflow Pipelines.

    A URI is gs://, s3:// or minio://; data, release store and checkpoints may also be absolute
    paths on volumes that the configuration mounts (kubeflow.pods.volumes).
    """
    from kubeflow.compiler.compile import Places, compile_pipeline, to_yaml
    from pipeline.commands.log_file import libraries_to
    from pipeline.config import config as configuration

    settings = configuration.load(config, overrides)
    checkpoints = checkpoints or serving.rstrip("/").rpartition("/")[0] + "/checkpoints"
    places = Places(image, data, serving, checkpoints, pipeline_root)
    with libraries_to(Path(os.devnull)):  # TensorFlow says what CPU this is
        documents = compile_pipeline(settings, places, backend_version)
    with durable_files.appearing(out) as unfinished:
        unfinished.write_text(to_yaml(documents), encoding="utf-8")
    parameters = documents[0]["root"]["inputDefinitions"]["parameters"]
    click.echo(f"{out}: {len(documents[0]['root']['dag']['tasks'])} tasks; to change in a run:")
    for name, parameter in parameters.items():
        click.echo(f"  --param {name}={parameter['defaultValue']}  {parameter['description']}")
