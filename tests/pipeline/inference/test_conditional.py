"""Releases whose decoder takes labels, on disk and behind a server."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from components.errors import PipelineError
from components.release_store import folder as folder_store
from models.vqvae import VQVAE
from pipeline.inference import codes_file, disk
from pipeline.inference.bulk_decode import decode_codes
from pipeline.inference.client import Client
from pipeline.inference.codes_file import Codes
from pipeline.inference.errors import InvalidInput
from tests.fixtures import served_releases, small_release
from tests.fixtures.commands import refused, vqvae
from tests.fixtures.tiny_models import pixels_of

REFUSED = "release 1 has a conditional decoder"


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    folder = tmp_path_factory.mktemp("conditional")
    config = small_release.network(conditional=True)
    vqvae = VQVAE(config, 0.1, num_classes=small_release.CLASSES)
    table = vqvae.decoder.label.table
    table.assign(np.random.default_rng(0).normal(size=table.shape))
    release = small_release.export(folder, vqvae)
    models = {name: release / name for name in ("encode", "decode", "sample")}
    facts = {"codebook_sha256": "x", "data": {"label_names": ["dog", "cat", "horse"]}}
    candidate = {**models, "evaluate": folder / "combined"}
    folder_store.publish(folder / "store", candidate, facts)
    codes = np.random.default_rng(0).integers(0, 8, (3, *config.code_shape), "int32")
    expected = vqvae.decode(codes, tf.constant([1, -1, 0])).numpy()
    return folder / "store", codes, expected


def test_on_disk(released, tmp_path):
    store, codes, expected = released
    with disk.opened(str(store), None, "decode") as models:
        np.testing.assert_array_equal(models.decode(codes, [1, -1, 0]), expected)
        with pytest.raises(InvalidInput, match=r"labels must be -1 \(not known\) to 2"):
            models.decode(codes, [1, 3, 0])
        with pytest.raises(PipelineError, match=REFUSED):
            models.decode(codes)
        with pytest.raises(PipelineError, match=REFUSED):
            next(models.decode_stream(codes))
        names, sizes = np.array(["a", "b", "c"]), np.zeros([3, 2], np.int32)
        codes_file.write(tmp_path / "codes" / "a.npz", Codes(codes, names, sizes, 1, "x"))
        folders = tmp_path / "codes", tmp_path / "out"
        with pytest.raises(PipelineError, match=REFUSED):
            decode_codes(models, *folders, [], lambda *_: None, chosen=False, force=False)


def test_behind_a_server(released):
    store, codes, expected = released
    with served_releases.serving(store) as running, Client(f"localhost:{running.port}") as client:
        np.testing.assert_array_equal(client.decode(codes, [1, -1, 0]), expected)
        assert client.takes_labels()
        assert client.audio() is None
        assert client.audio("sample") is None
        with pytest.raises(InvalidInput, match="labels"):
            client.decode(codes)
        decoded = np.concatenate(list(client.decode_stream(codes, [1, -1, 0], batch=1)))
        np.testing.assert_array_equal(decoded, expected)


@pytest.mark.parametrize("given", ["in the file", "by number", "by name"])
def test_the_command_takes_labels_from_the_file_or_from_the_user(released, tmp_path, given):
    store, codes, expected = released
    expected = expected if given == "in the file" else [expected[0]] * 3
    names, sizes = np.array(["a", "b", "c"]), np.zeros([3, 2], np.int32)
    labels = np.array([1, -1, 0]) if given == "in the file" else None
    stored = Codes(
        codes[:1].repeat(3, 0) if labels is None else codes, names, sizes, 1, "x", labels
    )
    codes_file.write(tmp_path / "c.npz", stored)
    decode = ("decode", tmp_path / "c.npz", "--store", store, "--out", tmp_path / "out")
    said = {"by number": ["--speaker", 1], "by name": ["--label", "cat"]}.get(given, [])
    assert vqvae(*decode, *said) == f"{tmp_path / 'out'}: 3 images\n"
    for name, pixels in zip("abc", expected, strict=True):
        np.testing.assert_array_equal(pixels_of(tmp_path / "out" / f"{name}.png"), pixels)


def test_the_command_without_labels_or_with_unknown_ones(released, tmp_path):
    store, codes, _ = released
    names, sizes = np.array(["a", "b", "c"]), np.zeros([3, 2], np.int32)
    codes_file.write(tmp_path / "c.npz", Codes(codes, names, sizes, 1, "x"))
    decode = ("decode", tmp_path / "c.npz", "--store", store, "--out", tmp_path / "out")
    assert "has no labels, which the conditional decoder of release 1 needs" in refused(*decode)
    assert refused(*decode, "--label", "cow") == (
        "no label is called 'cow': there are dog, cat, horse; give its number"
    )
    assert "labels must be -1 (not known) to 2" in refused(*decode, "--label", "9")
    sample = ("sample", "--store", store, "--count", 1, "--out", tmp_path / "drawn")
    vqvae(*sample, "--label", "horse")
    assert codes_file.read(tmp_path / "drawn" / "codes.npz").labels.tolist() == [2]
