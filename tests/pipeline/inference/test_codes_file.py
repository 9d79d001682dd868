"""Files of codes: what is written is read back, and nothing else is believed."""

from __future__ import annotations

import io
import json
import os
import resource
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from components.errors import PipelineError
from pipeline.inference import codes_file
from pipeline.inference.codes_file import Codes


def some_codes(count=3, largest=63, shape=(4, 5), **more):
    codes = np.random.default_rng(0).integers(0, largest + 1, (count, *shape), np.int32)
    codes.flat[:1] = largest
    names = np.array([f"folder/ä{index}.png" for index in range(count)], dtype=np.str_)
    sizes = np.array([[8 + index, 9] for index in range(count)], np.int32).reshape(count, 2)
    return Codes(codes, names, sizes, 7, "ab" * 32, **more)


@pytest.mark.parametrize(
    ("largest", "stored"), [(255, "u1"), (256, "<u2"), (65535, "<u2"), (65536, "<u4")]
)
@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 2)])
def test_codes_come_back_as_they_were(tmp_path, largest, stored, shape):
    written = some_codes(largest=largest, shape=shape)
    codes_file.write(tmp_path / "c.npz", written)
    with np.load(tmp_path / "c.npz", allow_pickle=False) as plain:
        assert plain["codes"].dtype == stored
    read = codes_file.read(tmp_path / "c.npz")
    assert read.codes.dtype == np.int32
    assert read.sizes.dtype == np.int32
    for name in ("codes", "names", "sizes"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
    assert (read.release, read.codebook_sha256) == (7, "ab" * 32)
    assert read.labels is None
    assert read.records is None


@pytest.mark.parametrize("count", [0, 3])
def test_labels_and_records(tmp_path, count):
    labels = np.arange(count) - 1
    codes_file.write(tmp_path / "c.npz", some_codes(count, 0, labels=labels, records=labels + 10))
    read = codes_file.read(tmp_path / "c.npz")
    assert len(read) == count
    np.testing.assert_array_equal(read.labels, labels)
    np.testing.assert_array_equal(read.records, labels + 10)


def test_the_header_is_read_without_the_codes(tmp_path):
    codes_file.write(tmp_path / "c.npz", some_codes())
    assert codes_file.read_header(tmp_path / "c.npz") == (3, (4, 5), 7, "ab" * 32, False)


def test_a_file_of_an_earlier_version_is_read(tmp_path):
    np.savez_compressed(
        tmp_path / "old.npz",
        codes=np.ones([2, 4, 4], np.int32),
        names=np.array(["a.png", "b.png"]),
        release=np.int64(3),
        codebook_sha256=np.array("cd"),
    )
    read = codes_file.read(tmp_path / "old.npz")
    assert read.names.tolist() == ["a.png", "b.png"]
    assert (read.sizes == 0).all()
    assert read.release == 3


def good_arrays():
    codes = some_codes()
    return {
        "format": np.int64(codes_file.FORMAT),
        "codes": codes.codes,
        "names": codes.names,
        "sizes": codes.sizes,
        "release": np.int64(7),
        "codebook_sha256": np.array("ab"),
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codes": np.zeros([3, 4])}, "'codes' is of type float64"),
        ({"codes": np.zeros([3, 4], int)}, r"'codes' has the shape \(3, 4\)"),
        ({"codes": np.full([3, 4, 4], -1)}, "none is below 0"),
        ({"codes": np.full([3, 4, 4], 2**40)}, "none is below 0"),
        ({"names": np.array(["a", "b"])}, "3 codes but 2 names"),
        ({"names": np.array([{}, {}, {}], object)}, "'names' is damaged"),
        ({"sizes": np.zeros([3, 3], int)}, "'sizes' has the shape"),
        ({"pixels_per_code": np.zeros(3, int)}, "'pixels_per_code' has the shape"),
        ({"labels": np.zeros(4, int)}, "3 codes but 4 labels"),
        ({"samples": np.zeros(4, int)}, "3 codes but 4 samples"),
        ({"windows": np.zeros((3, 1), int)}, "'windows' has the shape"),
        ({"release": np.zeros(2, int)}, "'release' has the shape"),
        ({"format": np.int64(99)}, "format 99 of a later vqvae"),
    ],
)
def test_what_contradicts_itself_is_refused(tmp_path, change, message):
    path = tmp_path / "bad.npz"
    np.savez(path, **{**good_arrays(), **change})
    with pytest.raises(PipelineError, match=message) as caught:
        codes_file.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_windows_of_recordings(tmp_path):
    samples, windows = np.array([2048, 2048, 5]), np.array([0, 1, 0])
    codes_file.write(tmp_path / "c.npz", some_codes(samples=samples, windows=windows))
    codes_file.write(tmp_path / "images.npz", some_codes())
    formats = [int(np.load(tmp_path / f"{name}.npz")["format"]) for name in ("c", "images")]
    assert formats == [4, 2]
    read = codes_file.read(tmp_path / "c.npz")
    np.testing.assert_array_equal(read.samples, samples)
    np.testing.assert_array_equal(read.windows, windows)
    np.savez(tmp_path / "c.npz", **{**good_arrays(), "samples": samples})
    with pytest.raises(PipelineError, match="`samples` and `windows` it has one without the other"):
        codes_file.read(tmp_path / "c.npz")


@pytest.mark.parametrize("missing", ["codes", "release", "codebook_sha256"])
def test_what_is_incomplete_is_refused(tmp_path, missing):
    arrays = good_arrays()
    del arrays[missing]
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(PipelineError, match=f"it holds no '{missing}'"):
        codes_file.read(tmp_path / "bad.npz")


def test_another_file_and_none_at_all(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"no zip")
    with pytest.raises(PipelineError, match=r"it is no \.npz file"):
        codes_file.read(tmp_path / "a.npz")
    with pytest.raises(PipelineError, match="No such file"):
        codes_file.read(tmp_path / "b.npz")


def test_every_cut_and_many_flips_are_refused_or_harmless(tmp_path):
    path = tmp_path / "c.npz"
    codes_file.write(path, some_codes())
    whole = path.read_bytes()
    expected = codes_file.read(path).codes
    random = np.random.default_rng(0)
    damaged = [whole[:end] for end in range(0, len(whole), 37)]
    for _ in range(300):
        copy = bytearray(whole)
        copy[random.integers(len(copy))] ^= 1 << random.integers(8)
        damaged.append(bytes(copy))
    for content in damaged:
        path.write_bytes(content)
        try:
            read = codes_file.read(path)
        except PipelineError:
            continue
        else:  # flipped in a byte that decides nothing, such as a time
            np.testing.assert_array_equal(read.codes, expected)


def _zeros(shape, dtype="|u1"):
    """An .npy file of zeros, as compressed chunks would announce it."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": dtype, "fortran_order": False, "shape": shape}
    )
    return header.getvalue()


def test_a_zip_bomb_is_refused_by_its_announcement(tmp_path):
    arrays = good_arrays()
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in ("release", "codebook_sha256"):
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, np.asarray(arrays[name]))
        with archive.open("codes.npy", "w", force_zip64=True) as file:
            file.write(_zeros((2**11, 2**10, 2**10)))  # 2 GiB, 8 GiB as int32
            for _ in range(2**7):
                file.write(bytes(2**24))
    assert path.stat().st_size < 2**22
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(PipelineError, match=r"8\.0 GiB of memory"):
        codes_file.read(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**17  # KiB


def test_a_header_that_announces_more_than_the_member_holds(tmp_path):
    with zipfile.ZipFile(tmp_path / "c.npz", "w") as archive:
        archive.writestr("codes.npy", _zeros((2**10, 2**10, 2**9)) + b"\0" * 10)
    with pytest.raises(PipelineError, match="'codes' is damaged"):
        codes_file.read(tmp_path / "c.npz")


def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "c.npz"
    codes_file.write(path, some_codes(2))
    program = """
import json, pathlib, resource, signal, sys
import numpy as np
from components.errors import PipelineError
from pipeline.inference import codes_file
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
codes = np.random.default_rng(0).integers(0, 2**16, (100, 32, 32), np.int32)
names = np.array([str(i) for i in range(100)])
try:
    stored = codes_file.Codes(codes, names, np.zeros([100, 2]), 1, "x")
    codes_file.write(pathlib.Path(sys.argv[1]), stored)
except PipelineError as error:
    print(json.dumps(str(error)))
"""
    ran = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, timeout=600
    )
    assert "cannot be written: File too large" in json.loads(ran.stdout), ran.stderr
    assert len(codes_file.read(path)) == 2
    assert os.listdir(tmp_path) == ["c.npz"]
