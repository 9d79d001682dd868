"""`~` is the home folder in every path that a user can give."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from pipeline.commands.cli import cli
from pipeline.config import config
from pipeline.config.config import ConfigError
from pipeline.user_path import StoreAddress, UserPath
from tests import ROOT


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    (tmp_path / "home").mkdir()
    (tmp_path / "cwd").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "cwd")
    return tmp_path / "home"


def every_parameter(command: click.Command, path: str) -> Iterator[tuple[str, click.Parameter]]:
    for parameter in command.params:
        yield path, parameter
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from every_parameter(command.get_command(context, name), f"{path} {name}")


def test_every_path_and_store_of_every_command_knows_home():
    paths = 0
    for command, parameter in every_parameter(cli, "vqvae"):
        place = f"{command}: {parameter.name}"
        if isinstance(parameter.type, click.Path):
            paths += 1
            assert isinstance(parameter.type, UserPath), place
        if parameter.name == "store":
            assert isinstance(parameter.type, StoreAddress), place
    assert paths > 20


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("~/data", "{home}/data"),
        ("~", "{home}"),
        ("./~", "~"),
        ("~nobody-has-this-name", "~nobody-has-this-name"),
        ("a/~/b", "a/~/b"),
    ],
)
def test_tilde_in_an_option(home, given, meant):
    @click.command()
    @click.option("--data", type=UserPath(path_type=Path))
    @click.option("--store", type=StoreAddress())
    def show(data: Path, store: str) -> None:
        click.echo(data)
        click.echo(Path(store))

    said = CliRunner().invoke(show, [f"--data={given}", f"--store={given}"]).output
    assert said.splitlines() == [meant.format(home=home)] * 2


def test_a_uri_is_left_alone(home):
    assert StoreAddress().convert("s3://bucket/~/store", None, None) == "s3://bucket/~/store"


def test_run_reads_and_writes_at_home(home):
    said = CliRunner().invoke(cli, ["run", "--data=~/data", "--root=~/run"])
    assert isinstance(said.exception, ConfigError)
    assert str(said.exception) == f"--data {home}/data: no such directory"
    assert list(Path.cwd().iterdir()) == []


def test_tilde_in_a_configuration(home):
    loaded = config.load(
        "digits",
        ("data.path=~/d", "data.schema_path=~/s.pbtxt", "release.path=~/r"),
    )
    assert loaded.data.path == f"{home}/d"
    assert loaded.data.schema_path == f"{home}/s.pbtxt"
    assert loaded.release.path == f"{home}/r"
    assert config.load("digits", ("release.path=s3://b/~",)).release.path == "s3://b/~"


# The standard library looks the user up where HOME is unset, and finds nobody in a container.
_UNKNOWN_USER = """
import pwd, sys, runpy

def unknown(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")

pwd.getpwuid = unknown
sys.argv = ["vqvae", *sys.argv[1:]]
from vqvae_command import main
main()
"""


def test_an_unknown_user_without_home_has_no_tilde(tmp_path):
    def vqvae(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-c", _UNKNOWN_USER, *arguments],
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )

    said = vqvae("run", "--data=~/x")
    assert said.returncode == 2
    assert "~/x: ~ is not known: set HOME, or write the path out" in said.stderr
    # Libraries that ask for the home folder, as Beam does, get one; nothing of it stays.
    asking = vqvae("encode", "missing.png", "--root=none", "--out=codes.npz")
    assert "nothing has been released" in asking.stderr
    assert list(tmp_path.iterdir()) == []
