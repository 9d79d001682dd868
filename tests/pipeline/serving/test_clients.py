"""`vqvae encode`, `decode` and `sample` over `vqvae serve`: what they give is what disk gives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from components.errors import PipelineError
from components.release_store import folder as folder_store
from pipeline.commands.cli import cli
from pipeline.inference import codes_file
from pipeline.inference.client import Client
from pipeline.inference.errors import ServerError
from tests.fixtures.commands import vqvae
from tests.fixtures.served_releases import png, serving


@pytest.fixture(scope="module")
def store(candidates, tmp_path_factory) -> Path:
    """Two releases of different codebooks; 2 is stable, and 1 still served."""
    store = tmp_path_factory.mktemp("releases") / "store"
    for candidate in candidates:
        known = json.loads((candidate["encode"].parent / "model.json").read_text())
        facts = {"codebook_sha256": known["codebook_sha256"]}
        folder_store.publish(store, candidate, facts)
    return store


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for index in range(150):
        (folder / f"{index:03d}.png").write_bytes(png(index))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.png")}


def test_server_and_disk_agree(store, images, tmp_path):
    with serving(store) as server:
        places = {"disk": ("--store", store), "server": ("--server", f"localhost:{server.port}")}
        for name, where in places.items():
            out = tmp_path / name
            vqvae("encode", images, "--out", out / "codes.npz", *where)
            vqvae("decode", out / "codes.npz", "--out", out / "decoded", *where)
            vqvae(
                "sample",
                "--out",
                out / "drawn",
                "--count=70",
                "--label=1",
                "--seed=9",
                "--guidance=2",
                *where,
            )
    disk, server = tmp_path / "disk", tmp_path / "server"
    for name in ("codes.npz", "drawn/codes.npz"):
        one, other = codes_file.read(disk / name), codes_file.read(server / name)
        np.testing.assert_array_equal(one.codes, other.codes)
        assert (one.release, one.codebook_sha256) == (other.release, other.codebook_sha256)
        assert one.release == 2
    for name, count in {"decoded": 150, "drawn": 70}.items():
        assert contents(disk / name) == contents(server / name)
        assert len(contents(disk / name)) == count


def test_the_previous_release_decodes_its_codes(store, images, tmp_path):
    vqvae("encode", images, "--out", tmp_path / "1.npz", "--store", store, "--version", 1)
    vqvae("decode", tmp_path / "1.npz", "--out", tmp_path / "disk", "--store", store)
    with serving(store) as server:
        where = ("--server", f"localhost:{server.port}")
        said = vqvae("decode", tmp_path / "1.npz", "--out", tmp_path / "server", *where)
        assert "decoded with release 1" in said
        assert contents(tmp_path / "server") == contents(tmp_path / "disk")
        with pytest.raises(PipelineError, match=r"release 1, not to that of release 2"):
            vqvae("decode", tmp_path / "1.npz", "--out", tmp_path / "no", "--version=2", *where)


def test_verify_asks_each_model_for_its_codebook(store, candidates, tmp_path):
    assert vqvae("releases", "verify", "--store", store) == "release 1: whole\nrelease 2: whole\n"
    folder_store.publish(tmp_path / "store", candidates[0], {"codebook_sha256": "another"})
    result = CliRunner().invoke(cli, ["releases", "verify", "--store", str(tmp_path / "store")])
    assert result.exit_code == 1
    for model in ("encode", "decode", "sample"):
        assert f"{model} says it is of release 1, codebook " in result.output
    assert "the manifest of release 1, codebook another" in result.output


def test_the_bad_image_and_what_is_not_served(store, images, tmp_path):
    (tmp_path / "bad.png").write_bytes(next(images.iterdir()).read_bytes()[:-20])
    with serving(store) as server:
        where = ("--server", f"localhost:{server.port}")
        with pytest.raises(PipelineError, match=r"bad\.png: Invalid PNG data"):
            vqvae("encode", images, tmp_path / "bad.png", "--out", tmp_path / "c.npz", *where)
        for wrong in ("--version=7", "--version-label=nobody"):
            with pytest.raises(PipelineError, match=r"7|nobody") as caught:
                vqvae("encode", images, "--out", tmp_path / "c.npz", wrong, *where)
            assert "\n" not in str(caught.value)
    assert not (tmp_path / "c.npz").exists()


def test_a_stream_goes_on_with_its_release_while_another_becomes_stable(store, images, tmp_path):
    contents = [path.read_bytes() for path in sorted(images.iterdir())]
    with serving(store) as server, Client(f"localhost:{server.port}") as client:
        stream = client.encode_stream(contents, batch=10, in_flight=2)
        releases = [next(stream).release]
        folder_store.promote(store, 1)
        try:
            while client.identity().release != 1:
                pass
            # 2 is not served any more: the stream says so instead of changing codebooks.
            with pytest.raises(ServerError, match=r"no longer serves release 2, .*run it again"):
                releases += [each.release for each in stream]
        finally:
            folder_store.promote(store, 2)
    assert set(releases) == {2}
