"""A decision in Google Cloud Storage follows the one before, by generations."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from components.object_store.folder import Folder
from tests.fixtures.gcs_server import gcs_server


@pytest.fixture(scope="module", autouse=True)
def server():
    with gcs_server():
        yield


@pytest.fixture
def folder(request):
    return Folder(f"gs://bucket/{request.node.name}")


def test_a_file_is_replaced_only_by_who_has_read_it_as_it_is(folder):
    folder.require_conditions("nothing")
    assert folder.replace("a b", b"1", None)
    assert not folder.replace("a b", b"2", None)
    first = folder.read_stamped("a b")
    assert first.data == b"1"
    assert folder.replace("a b", b"2", first.stamp)
    assert not folder.replace("a b", b"1", first.stamp)
    assert folder.replace("a b", b"1", folder.read_stamped("a b").stamp)
    assert not folder.replace("a b", b"3", first.stamp)  # the same contents, not the same object
    assert folder.read("a b") == b"1"
    assert list(folder.find()) == ["a b"]


def test_of_many_replacers_one_succeeds(folder):
    folder.write("a", b"old")
    stamp = folder.read_stamped("a").stamp
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda n: folder.replace("a", str(n).encode(), stamp), range(8)))
    assert won.count(True) == 1
    assert folder.read("a") == str(won.index(True)).encode()


def test_files_that_differ_are_found_by_the_md5_of_the_listing(folder, tmp_path):
    for name in ("same", "other"):
        (tmp_path / name).write_text("12345")
    folder.upload(tmp_path, "up")
    folder.write("up/other", b"12346")
    assert folder.differing(tmp_path, "up", {}) == ["up/other"]
