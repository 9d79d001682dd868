"""The one typed configuration: sections, YAML loading, overrides and readable errors."""

from __future__ import annotations

import difflib
import math
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from components.errors import UserError
from components.evaluator import speech
from components.evaluator.gate import GateConfig
from components.release_store.rollout import Rollout
from components.trainer.config import TrainingConfig
from models.config import ModelConfig, NetworkConfig, PriorConfig, Section
from models.metrics import SSIM_WINDOW
from pipeline.config import strict_yaml
from pipeline.config.beam import BeamConfig
from pipeline.config.data import DataConfig
from pipeline.config.home_path import HomePath
from pipeline.config.pods import KubeflowConfig


class ConfigError(UserError, ValueError):
    """A configuration that cannot be used."""


class _Gate(GateConfig):
    # As `GateConfig` says; with `~` in its place.
    features: HomePath | None = None
    # The same.
    phones: HomePath | None = None


class ReleaseConfig(Section):
    """Where a blessed model goes."""

    # Directory or URI (s3://, minio://, gs://) of the release store; by default `serving` below
    # the run root. On Kubeflow `vqvae compile --serving` names it.
    path: HomePath | None = None
    # What a release becomes: `stable` replaces the one before it at once; `canary` is served
    # beside it, under a label of its own, until `vqvae releases promote`. The first release of a
    # store is stable in any case. Default stable.
    rollout: Rollout = "stable"


class RuntimeConfig(Section):
    """What does not change results."""

    # Reuse the outputs of components whose inputs, settings and code are unchanged.
    cache: bool = True
    # Compile the training step with XLA; `auto` does so on a GPU. Default auto.
    jit_compile: bool | Literal["auto"] = "auto"
    # The same bits from the same seed at every training; `auto`: on a CPU. On a GPU it costs
    # speed, and without it two trainings differ by rounding. Default auto.
    deterministic: bool | Literal["auto"] = "auto"


class Config(Section):
    """A whole run."""

    # Name of the pipeline; letters, digits and dashes.
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=63)]
    data: DataConfig
    model: ModelConfig = ModelConfig()
    prior: PriorConfig = PriorConfig()
    training: TrainingConfig = TrainingConfig()
    gate: _Gate = _Gate()
    release: ReleaseConfig = ReleaseConfig()
    beam: BeamConfig = BeamConfig()
    runtime: RuntimeConfig = RuntimeConfig()
    kubeflow: KubeflowConfig = KubeflowConfig()

    @property
    def network(self) -> NetworkConfig:
        """The sections that the shape of the VQ-VAE depends on."""
        return NetworkConfig(image=self.data.image, model=self.model)

    @model_validator(mode="after")
    def _network_fits(self) -> Config:
        _ = self.network
        for stage in ("vqvae", "prior"):
            if self.data.kind == "audio" and getattr(self.training, stage).flip:
                raise ValueError(
                    f"training.{stage}.flip mirrors images, and of a spectrogram it would swap low "
                    "and high; leave it out for data.kind audio"
                )
        return self

    @model_validator(mode="after")
    def _gate_fits(self) -> Config:
        image, depth = self.data.image, self.model.quantizer.depth
        kind = self.data.described
        conditional, phones = self.model.decoder.conditional, self.gate.phones is not None
        if phones and (kind.kind != "audio" or math.prod(self.network.code_shape[1:]) != 1):
            raise ValueError(
                "gate.phones is for data.kind audio and one code a moment: a row of codes has "
                f"{math.prod(self.network.code_shape[1:])} (model.encoder.downsampling, "
                "model.quantizer); leave it out"
            )
        besides = speech.measured(kind, conditional, phones)
        known = self.gate.measured(image.hwc, depth, besides)
        for name in (name for name in self.gate.thresholds if name not in known):
            if name == "ssim":
                why = (
                    f"images of {image.height}x{image.width} are smaller than the window of SSIM, "
                    f"{SSIM_WINDOW} pixels a side"
                )
            else:
                why = speech.why_not(name, kind) or (
                    "codebooks have numbers, 1 to model.quantizer.depth, where there are several; "
                    f"it is {depth}"
                )
            raise ValueError(f"gate.thresholds.{name}: {why}; remove this threshold")
        return self


def load(source: str | Path, overrides: tuple[str, ...] = ()) -> Config:
    """Reads a configuration.

    Args:
        source: path of a YAML file, or the name of one that ships (`digits`).
        overrides: `section.key=value` strings; values are YAML.

    Raises:
        ConfigError: with one line naming the key, the problem and, for an unknown key, the
            nearest one that exists.
    """
    path = _find(source)
    try:
        values = strict_yaml.load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: {strict_yaml.explain(error)}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: must hold sections such as `data:` and `model:`")
    for override in overrides:
        _override(values, override)
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_explain(error)}") from error


def shipped() -> dict[str, Path]:
    """Name -> path of the configurations that come with the package."""
    import configs

    return {path.stem: path for path in sorted(Path(configs.__path__[0]).glob("*.yaml"))}


def _find(source: str | Path) -> Path:
    path = Path(source)
    if path.is_file():
        return path
    known = shipped()
    if str(source) in known:
        return known[str(source)]
    raise ConfigError(
        f"no configuration {str(source)!r}: give a YAML file or one of {', '.join(known)}"
    )


def _override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {override}: must look like section.key=value")
    try:
        value = strict_yaml.load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override}: {strict_yaml.explain(error)}") from error
    *sections, last = key.strip().split(".")
    place = values
    for section in sections:
        inner = place.get(section)
        if inner is None:
            inner = place[section] = {}
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {override}: {section!r} holds a value, not a section")
        place = inner
    place[last] = value


def _explain(error: ValidationError) -> str:
    """The first problem as one line."""
    problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"unknown key {place!r}{_suggest(problem['loc'])}"
    if problem["type"] == "missing":
        return f"{place} is missing"
    message = problem["msg"].removeprefix("Value error, ")
    if not place:
        return message
    received = problem.get("input")
    shown = "" if isinstance(received, (dict, list, BaseModel)) else f"; received {received!r}"
    return f"{place}: {message[0].lower()}{message[1:]}{shown}"


def _suggest(loc: tuple[int | str, ...]) -> str:
    *sections, wrong = (str(part) for part in loc)
    # Reversed, so that of several keys with one name the first is suggested.
    everywhere = {key.rsplit(".", 1)[-1]: key for key in reversed(keys())}
    here = {key.rsplit(".", 1)[-1]: key for key in keys() if key.split(".")[:-1] == sections}
    for candidates in (here, everywhere):
        near = difflib.get_close_matches(wrong, candidates, n=1)
        if near:
            return f"; did you mean {candidates[near[0]]!r}?"
    return f"; known here: {', '.join(here)}" if here else ""


def keys(section: type[BaseModel] = Config, prefix: str = "") -> list[str]:
    """Every key of the configuration, dotted, sections included."""
    found = []
    for name, field in section.model_fields.items():
        found.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += keys(field.annotation, f"{prefix}{name}.")
    return found
