"""The configuration: what ships is valid, mistakes are named in one line."""

from __future__ import annotations

import inspect

import pytest

from models.config import Section
from pipeline.config.config import Config, ConfigError, load, shipped


@pytest.mark.parametrize("name", sorted(shipped()))
def test_every_configuration_that_ships_is_valid(name):
    assert load(name).name == name.replace("_", "-")


def test_overrides_are_yaml():
    config = load("digits", ("training.vqvae.steps=7", "gate.thresholds={psnr: {min: 20}}"))
    assert config.training.vqvae.steps == 7
    assert config.gate.thresholds["psnr"].min == 20
    assert list(config.gate.thresholds) == ["psnr"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("modle.x=1", "unknown key 'modle'; did you mean 'model'?"),
        (
            "model.quantizer.num_code=3",
            "unknown key 'model.quantizer.num_code'; did you mean 'model.quantizer.num_codes'?",
        ),
        ("steps=3", "did you mean 'training.vqvae.steps'?"),
        ("training.vqvae.steps=many", "training.vqvae.steps: input should be a valid integer"),
        ("gate.thresholds.nmsee.max=1", "unknown metric 'nmsee'"),
        ("gate.thresholds={}", "name one"),
        ("gate.thresholds.fid={max: 9}", "fid needs gate.features"),
        (
            "gate.thresholds.perplexity_2={min: 9}",
            "1 to model.quantizer.depth, where there are several; it is 1",
        ),
        ("model.quantizer={depth: 2, groups: 2}", "depth (2) does not go with groups"),
        ("training.prior.flip=true", "set views to 2 or more"),
        ("data.image.height=7", "7x8 cannot be downsampled by 2"),
        (
            "model.encoder.downsampling=3",
            "model.encoder.downsampling: must be a power of two, 2 to",
        ),
        ("model.encoder.downsampling=[1, 1]", "model.encoder.downsampling: must be a power of two"),
        (
            "model.encoder.downsampling=[2, 16]",
            "8x8 cannot be downsampled by 2x16: the height must",
        ),
        ("model.encoder.attention_at=[2]", "attention_at is for kind resnet, not paper"),
        (
            "model.encoder={kind: resnet, residual_units: 8}",
            "model.encoder: residual_units is for kind paper, not resnet; leave it out, or set",
        ),
        (
            "model.encoder={kind: resnet, downsampling: [2, 4], channel_multipliers: [1, 2]}",
            "channel_multipliers must have 3 numbers with downsampling 2x4, one for each",
        ),
        (
            "model.encoder={kind: resnet, attention_at: [8]}",
            "model.encoder: attention_at has 8, but with downsampling 4 there are 1, 2, 4",
        ),
        ("model.decoder.attention_at=[2]", "decoder.attention_at is for kind resnet, not paper"),
        ("data.features={image: x, label: x}", "image and label must be two features"),
        ("data.features.lable=x", "did you mean 'data.features.label'?"),
        ("model=3", "model"),
        ("name.x=3", "'name' holds a value, not a section"),
        ("no-equals-sign", "must look like section.key=value"),
    ],
)
def test_mistakes_are_named(override, message):
    with pytest.raises(ConfigError) as error:
        load("digits", (override,))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_used(tmp_path):
    with pytest.raises(ConfigError, match=r"no configuration 'nowhere.yaml'.*digits"):
        load("nowhere.yaml")
    path = tmp_path / "bad.yaml"
    for text, message in (("a: [", "not YAML"), ("- 1", "must hold sections"), ("", "sections")):
        path.write_text(text)
        with pytest.raises(ConfigError, match=message):
            load(path)


def sections(section: type = Config) -> list[type]:
    inner = (field.annotation for field in section.model_fields.values())
    found = [kind for kind in inner if isinstance(kind, type) and issubclass(kind, Section)]
    return [section, *(each for kind in found for each in sections(kind))]


@pytest.mark.parametrize("section", sections(), ids=lambda section: section.__name__)
def test_every_setting_has_a_comment(section):
    lines = inspect.getsource(section).splitlines()
    for name in section.__annotations__:  # those that it adds to the section it extends
        field = section.model_fields[name]
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            continue  # a section says what it is in its own docstring
        index = next(i for i, line in enumerate(lines) if line.startswith(f"    {name}: "))
        assert lines[index - 1].startswith("    #"), name
