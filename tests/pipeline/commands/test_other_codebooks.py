"""`vqvae decode` of codes that an older release, or none that is there, has made."""

from __future__ import annotations

import numpy as np

from components.release_store import store as release_store
from tests.fixtures import tiny_models
from tests.fixtures.commands import refused, vqvae
from tests.fixtures.object_stores import s3_server
from tests.fixtures.tiny_models import pixels_of, some_images, write_images


def test_an_older_release_that_is_there_decodes_its_codes(where, codes_of_a, tmp_path):
    said = vqvae("decode", codes_of_a, "--out", tmp_path / "out", *where)
    assert said == (
        f"{tmp_path / 'out'}: 3 images, decoded with release 1, whose codebook they are of; "
        "release 3 has another\n"
    )
    np.testing.assert_array_equal(pixels_of(tmp_path / "out" / "000.png"), some_images(1)[0])


def test_another_codebook_is_refused(where, codes_of_a, tmp_path):
    arguments = ("decode", codes_of_a, "--out", tmp_path / "out", "--version", 2, *where)
    assert refused(*arguments) == (
        f"{codes_of_a}: its codes belong to the codebook of release 1, not to that of release 2; "
        "decode with --version 1, or use --force"
    )
    assert not (tmp_path / "out").exists()
    said = vqvae(*arguments, "--force")
    assert "with release 2 as --force says" in said
    assert (pixels_of(tmp_path / "out" / "000.png") != some_images(1)[0]).any()


def test_a_codebook_that_is_nowhere_is_refused(server, candidates, codes_of_a, tmp_path):
    tiny_models.publish(tmp_path / "other", candidates["b"], "b")
    expected = "release 1, not to that of release 1; make release 1 available again"
    arguments = ("decode", codes_of_a, "--out", tmp_path / "out")
    assert expected in refused(*arguments, "--store", tmp_path / "other")
    served = server.served
    server.served = {2, 3}
    try:
        message = refused(*arguments, "--server", server.target)
    finally:
        server.served = served
    assert "belong to the codebook of release 1, not to that of release 3" in message


def test_a_release_with_that_codebook_and_another_number(candidates, codes_of_a, tmp_path):
    for codebook in "bab":
        tiny_models.publish(tmp_path / "other", candidates[codebook], codebook)
    said = vqvae("decode", codes_of_a, "--out", tmp_path / "out", "--store", tmp_path / "other")
    assert "decoded with release 2" in said
    np.testing.assert_array_equal(pixels_of(tmp_path / "out" / "000.png"), some_images(1)[0])


def test_a_store_in_an_object_store(candidates, tmp_path):
    paths = write_images(tmp_path / "in", 3)
    with s3_server("models"):
        store = "s3://models/tiny"
        for codebook in "ab":
            facts = {"codebook_sha256": tiny_models.codebook_sha256(codebook)}
            release_store.publish(store, candidates[codebook], facts)
        where = ("--store", store)
        vqvae("encode", *paths, "--out", tmp_path / "a.npz", "--version", 1, *where)
        said = vqvae("decode", tmp_path / "a.npz", "--out", tmp_path / "out", *where)
    assert "decoded with release 1" in said
    np.testing.assert_array_equal(pixels_of(tmp_path / "out" / "002.png"), some_images(3)[2])
