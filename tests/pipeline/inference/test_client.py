"""The client against a real gRPC server over real SavedModels."""

from __future__ import annotations

import itertools
import subprocess
import time

import grpc
import numpy as np
import pytest

from components.errors import PipelineError
from pipeline.inference import disk
from pipeline.inference.client import Client
from pipeline.inference.errors import InvalidInput, ServerError
from tests.fixtures import tiny_models
from tests.fixtures.prediction_server import PredictionServer
from tests.fixtures.tiny_models import expected_codes, png, some_images


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Release 1 has codebook a, release 2 codebook b."""
    folder = tmp_path_factory.mktemp("models")
    for codebook in "ab":
        tiny_models.publish(
            folder / "store", tiny_models.write(folder / codebook, codebook), codebook
        )
    return folder / "store"


@pytest.fixture
def server(store):
    with PredictionServer(store) as server:
        server.labels = {"stable": 1, "canary": 2}
        yield server


@pytest.fixture
def client(server):
    with Client(server.target) as client:
        yield client


def test_encode_decode_and_identity(client):
    pixels = some_images(3)
    encoded = client.encode([png(each) for each in pixels])
    assert encoded.release == 1
    assert encoded.codes.dtype == np.int32
    np.testing.assert_array_equal(encoded.codes, expected_codes(pixels))
    np.testing.assert_array_equal(client.encode_pixels(pixels[..., None]).codes, encoded.codes)
    np.testing.assert_array_equal(client.decode(encoded.codes), pixels[..., None])
    for model in ("encode", "decode", "sample"):
        assert client.identity(model) == (1, tiny_models.codebook_sha256("a"))


@pytest.mark.parametrize("variable", ["http_proxy", "https_proxy", "grpc_proxy"])
def test_a_proxy_is_passed_over_on_this_machine(server, monkeypatch, variable):
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv(variable, "http://localhost:1")  # where no proxy is
    with Client(server.target) as client:
        assert client.identity().release == 1


def test_sample(client):
    drawn = client.sample([3, 7], seed=5)
    assert drawn.images.shape == (2, *tiny_models.SHAPE)
    again = client.sample([3, 7], seed=5)
    np.testing.assert_array_equal(drawn.codes, again.codes)
    assert (client.sample([3, 7], seed=6).codes != drawn.codes).any()
    greedy = client.sample([3, 7], top_k=1)
    np.testing.assert_array_equal(greedy.codes, np.broadcast_to([[[3]], [[7]]], (2, 2, 3)))


def test_a_release_of_before_draws_without_guidance_and_refuses_it_in_one_line(client, store):
    plain = client.sample([3, 7], seed=5)
    np.testing.assert_array_equal(client.sample([3, 7], seed=5, guidance=1.0).codes, plain.codes)
    with disk.opened(str(store), 1, "sample") as models:
        np.testing.assert_array_equal(models.sample([3, 7], seed=5).codes, plain.codes)
        for each in (client, models):
            with pytest.raises(PipelineError, match="earlier vqvae, and cannot guide") as refused:
                each.sample([3, 7], guidance=2.0)
            assert "\n" not in str(refused.value)


def test_images_that_end_in_zero_bytes_arrive_whole(client):
    pixels = some_images(1)
    padded = png(pixels[0]) + b"\0\0\0"
    np.testing.assert_array_equal(client.encode([padded]).codes, expected_codes(pixels))


@pytest.mark.parametrize(
    ("asked", "release"),
    [({}, 1), ({"label": "canary"}, 2), ({"version": 2}, 2), ({"label": ""}, 2)],
)
def test_a_label_a_version_or_the_newest(server, asked, release):
    with Client(server.target, **asked) as client:
        assert client.identity().release == release
        codes = client.encode([png(some_images(1)[0])]).codes
    np.testing.assert_array_equal(codes, expected_codes(some_images(1), "ab"[release - 1]))


@pytest.mark.parametrize("count", [0, 1, 5, 64])
def test_a_stream_keeps_the_order(server, client, count):
    pixels = some_images(count)
    found = list(client.encode_stream((png(each) for each in pixels), batch=5))
    assert all(len(each.codes) <= 5 for each in found)
    codes = np.concatenate([each.codes for each in found]) if count else np.zeros([0, 2, 3])
    np.testing.assert_array_equal(codes, expected_codes(pixels))
    images = list(client.decode_stream(codes.astype(np.int32), batch=5))
    if count:
        np.testing.assert_array_equal(np.concatenate(images), pixels[..., None])
    else:
        assert images == []


def test_batches_are_bounded_in_bytes(server, client):
    images = [png(each) for each in some_images(12)]
    size = max(map(len, images))
    list(client.encode_stream(images, batch=100, batch_bytes=3 * size + 2))
    assert max(rows for *_, rows in server.calls) == 3
    # One that is larger than all of a request may have still goes, alone.
    list(client.encode_stream(images[:2], batch_bytes=1))
    server.calls.clear()
    list(client.decode_stream(np.zeros([12, 2, 3], np.int32), batch=100, batch_bytes=4 * 24))
    # The last two are under way at the same time.
    assert sorted(rows for *_, rows in server.calls) == [1, 3, 4, 4]


def test_only_a_few_requests_are_ahead(server, client):
    taken = itertools.count()

    def endless():
        image = png(some_images(1)[0])
        while True:
            next(taken)
            yield image

    stream = client.encode_stream(endless(), batch=2, in_flight=3)
    for _ in range(4):
        next(stream)
    stream.close()
    # The first alone, three batches that were answered, two in flight, one image read ahead.
    assert next(taken) <= 2 * (1 + 3 + 2) + 1
    time.sleep(0.2)
    assert server.started <= 6


def test_requests_overlap(server, client):
    server.delay = 0.3
    images = [png(each) for each in some_images(7)]
    list(client.encode_stream(images, batch=1, in_flight=3))
    assert 1 < server.most_at_once <= 3


def test_a_stream_stays_with_the_release_it_began_with(server, client):
    stream = client.encode_stream([png(each) for each in some_images(6)], batch=1, in_flight=1)
    releases = [next(stream).release]
    server.labels["stable"] = 2
    releases += [each.release for each in stream]
    assert releases == [1] * 6
    assert client.identity().release == 2


def test_a_release_that_is_gone_midway_is_named(server, client):
    stream = client.encode_stream([png(each) for each in some_images(6)], batch=1, in_flight=1)
    next(stream)
    server.served = {2}
    server.labels["stable"] = 2
    with pytest.raises(ServerError, match=r"no longer serves release 1, .*run it again"):
        list(stream)


def test_the_undecodable_image_of_a_stream_is_found(client):
    images = [png(each) for each in some_images(23)]
    images[17] = b"no image"
    images[19] = b"neither"
    stream = client.encode_stream(images, batch=8)
    with pytest.raises(InvalidInput, match="images: not a PNG or JPEG image") as caught:
        list(stream)
    assert caught.value.index == 17


def test_codes_that_the_model_does_not_have(client):
    with pytest.raises(InvalidInput) as caught:
        client.decode(np.full([1, 2, 3], 99))
    assert str(caught.value).startswith("codes must be 0 to 15. Received: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("times", [1, 4])
def test_unavailable_is_tried_again(server, client, times):
    server.unavailable = times
    assert client.identity().release == 1
    assert server.started == times + 1


def test_unavailable_for_too_long(server, client):
    server.unavailable = 100
    with pytest.raises(ServerError, match="no server answers there"):
        client.identity()
    assert server.started == 5


def test_a_large_request_is_tried_again_too(server, client):
    """By default gRPC forgets what is larger than 256 KiB as soon as it is sent."""
    server.unavailable = 3
    pixels = some_images(200_000)[..., None]  # 4.8 MB
    encoded = client.encode_pixels(pixels)
    np.testing.assert_array_equal(encoded.codes, expected_codes(pixels[..., 0]))
    assert server.started == 4


def test_a_server_that_starts_late_is_waited_for(store):
    with PredictionServer(store) as server:
        target = server.target
    client = Client(target)
    call = client._start("encode", "identity", {"rows": np.ones([1], np.int32)})
    time.sleep(0.5)
    late = PredictionServer(store)
    late._server.add_insecure_port(target)
    with late, client:
        assert client._finish("encode", call).release == 2


def test_no_server(store):
    with PredictionServer(store) as server:
        target = server.target
    started = time.monotonic()
    with Client(target, timeout=600) as client, pytest.raises(ServerError) as caught:
        client.identity()
    assert str(caught.value).startswith(f"{target}: no server answers there (")
    assert "\n" not in str(caught.value)
    assert time.monotonic() - started < 300  # it has not waited for an answer


def test_a_missed_deadline_is_not_tried_again(server):
    server.delay = 1.0
    with Client(server.target, timeout=0.3) as client:
        with pytest.raises(ServerError, match=r"encode did not answer within 0\.3 s") as caught:
            client.identity()
        assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
        time.sleep(1.0)
    assert server.started == 1


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"version": 9}, r"is not served: .*Specific\(encode, 9\)"),
        ({"label": "no"}, "version label"),
    ],
)
def test_what_is_not_served(server, asked, message):
    with (
        Client(server.target, **asked) as client,
        pytest.raises(PipelineError, match=message) as caught,
    ):
        client.identity()
    assert "\n" not in str(caught.value)


def test_a_release_without_that_signature(client):
    with pytest.raises(ServerError, match=r'key "no" not found.*release again'):
        client._call("encode", "no", {"rows": np.ones([1], np.int32)})


def test_a_message_that_is_too_large(server):
    with Client(server.target, max_message_mib=1) as client:
        with pytest.raises(ServerError, match="may have 1 MiB at this end"):
            client.encode_pixels(some_images(100_000)[..., None])
        assert client.identity().release == 1


def test_a_codebook_is_looked_for(server, client):
    sha256 = tiny_models.codebook_sha256("b")
    found = client.of_codebook(sha256, 2)
    assert found.identity("decode").release == 2
    assert client.of_codebook(sha256, 1) is None
    assert client.of_codebook(sha256, 3) is None


def test_tls(store, tmp_path):
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
            *("-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost"),
        ],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    pair = ((tmp_path / "key.pem").read_bytes(), (tmp_path / "cert.pem").read_bytes())
    with PredictionServer(store, grpc.ssl_server_credentials([pair])) as server:
        with Client(server.target, tls=tmp_path / "cert.pem") as client:
            assert client.identity().release == 2
        with Client(server.target, tls=True) as client, pytest.raises(ServerError):
            client.identity()
    with pytest.raises(PipelineError, match="No such file"):
        Client(server.target, tls=tmp_path / "nowhere.pem")
