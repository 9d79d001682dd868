"""The model card: every fact of the manifest that a reader asks for, and nothing made up."""

from __future__ import annotations

from components.release_store import model_card

MANIFEST = {
    "version": 3,
    "created": "2026-11-24T10:00:00",
    "push_id": "push",
    "codebook_sha256": "c0de",
    "baseline": 2,
    "code_version": "abc",
    "config": {"name": "digits"},
    "model": {
        "image": [8, 8, 1], "code_shape": [4, 4], "num_codes": 64, "num_classes": 10,
        "began_with": {"vqvae": "release 2"},
    },
    "data": {"fingerprint": "train:f00d\neval:cafe", "span": 4, "splits": ["train", "eval"]},
    "metrics": {"psnr": 21.123456, "nmse": 0.0247, "bits_per_dim": None},
    "gate": [
        {"metric": "nmse", "value": 0.0247, "last_release": 0.0251, "threshold": "at most 0.04",
         "note": ""},
        {"metric": "psnr", "value": None, "last_release": None, "threshold": "a number",
         "note": "it has no value on this split"},
    ],
    "lineage": {"pipeline_run_id": "run-1", "artifacts": {"model": {"id": 7, "uri": "s3://a/b"}}},
}  # fmt: skip


def test_every_fact_is_told():
    card = model_card.render(MANIFEST)
    assert card.startswith("# Release 3\n")
    for line in (
        "VQ-VAE and autoregressive prior, released 2026-11-24T10:00:00 by the pipeline digits.",
        "    c0de",
        "| fingerprint | `train:f00d eval:cafe` |",
        "| span | 4 |",
        "| splits | train, eval |",
        "| `nmse` | 0.0247 |",
        "| `psnr` | 21.12 |",
        "| `bits_per_dim` | – |",
        "| `nmse` | 0.0247 | 0.0251 | at most 0.04 |",
        "| `psnr` | – | – | a number (it has no value on this split) |",
        "It was compared with release 2.",
        "| run of the pipeline | `run-1` |",
        "| vqvae began with | release 2 |",
        "| model | `s3://a/b` |",
    ):
        assert line in card.splitlines(), line
    assert "images of 8×8×1 into codes of 4×4 positions, each one of 64" in card
    assert "of a class if one is asked for (0 to 9)" in card


def test_samples_are_shown_where_the_release_has_a_picture():
    assert "![" not in model_card.render(MANIFEST)
    card = model_card.render({**MANIFEST, "picture_sha256": "abc"})
    assert "## Samples\n\n![images drawn from the prior](3.png)\n\n## Data\n" in card


def test_a_manifest_of_an_older_pipeline_has_a_card_too():
    card = model_card.render({"version": 1, "created": "then", "push_id": ""})
    assert "None" not in card
    assert "There was no release to compare it with." in card
