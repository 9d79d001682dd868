"""What the user of `vqvae serve` sees: start, end, mistakes, TLS."""

from __future__ import annotations

import json
import ssl
import subprocess
import urllib.request
from pathlib import Path

import grpc
import numpy as np
import pytest
from click.testing import CliRunner
from tensorflow_serving.apis import prediction_service_pb2_grpc

from components.errors import PipelineError, UserError
from pipeline.commands.cli import cli
from pipeline.inference.client import Client
from pipeline.inference.errors import ServerError
from pipeline.serving.listeners import Tls
from tests.fixtures.served_process import ServedProcess
from tests.fixtures.served_releases import GenericClient, png, publish, request, serving

SAMPLE = {
    "labels": np.zeros([1000], np.int32),
    "seed": np.int64(1),
    "temperature": np.float32(1),
}


def listening_on(process: subprocess.Popen, port: int) -> list[str]:
    """Addresses that a process listens on with this port, as the kernel writes them."""
    tables = (Path(f"/proc/{process.pid}/net/{name}").read_text() for name in ("tcp", "tcp6"))
    rows = [line.split() for table in tables for line in table.splitlines()]
    local = [row[1].split(":") for row in rows if row[3] == "0A"]
    return [address for address, number in local if number == f"{port:04X}"]


def test_a_server_from_its_start_to_its_end(store, candidates):
    with ServedProcess(store) as served:
        host = "127.0.0.1"
        assert served.lines == [
            f"gRPC  {host}:{served.grpc}",
            f"REST  http://{host}:{served.rest}/v1/models/encode",
            "serving release 1: decode, encode, sample",
        ]
        for port in (served.grpc, served.rest):
            addresses = listening_on(served.process, port)
            assert addresses
            # Loopback only, perhaps written as an IPv6 address.
            assert all(address.endswith("0100007F") for address in addresses)
        client = GenericClient(served.grpc)
        assert client.predict("encode", images=[png()])["release"] == [1]
        publish(store, candidates[1])
        line = served.process.stdout.readline()
        assert line.startswith("serving release ")
        assert "2" in line
        waiting = [
            client.stub.Predict.future(request("sample", **SAMPLE), timeout=300) for _ in range(6)
        ]
        waiting[0].result()
        code, output, errors = served.stop()
        assert [each.code() for each in waiting] == [grpc.StatusCode.OK] * 6
        assert (code, output.splitlines()[-1]) == (0, "stopped")
        assert "Traceback" not in errors


def test_mistakes_are_told_in_one_line(tmp_path):
    result = CliRunner().invoke(cli, ["serve", "--root", str(tmp_path)])
    assert str(result.exception) == (
        f"nothing has been released to {tmp_path}/serving yet; `vqvae run` makes a release"
    )
    result = CliRunner().invoke(cli, ["serve", "--tls-cert", __file__])
    assert result.exit_code == 2
    assert "--tls-cert and --tls-key go together" in result.output


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """An authority's certificate, and a server's and a client's with their keys."""
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=folder)

    openssl(
        *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=test CA"),
        *("-keyout", "ca.key", "-out", "ca.pem"),
    )
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    for name in ("server", "client"):
        openssl(
            *("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}"),
            *("-keyout", f"{name}.key", "-out", f"{name}.csr"),
        )
        openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key"),
            *("-CAcreateserial", "-days", "1", "-extfile", "names", "-out", f"{name}.pem"),
        )
    return folder


def test_tls_with_certificates_of_clients(first_release, certificates):
    tls = Tls(*(certificates / name for name in ("server.pem", "server.key", "ca.pem")))
    authority = (certificates / "ca.pem").read_bytes()
    key, certificate = ((certificates / name).read_bytes() for name in ("client.key", "client.pem"))
    with serving(first_release, tls=tls) as running:
        for own in ((key, certificate), (None, None)):
            credentials = grpc.ssl_channel_credentials(authority, *own)
            with grpc.secure_channel(f"localhost:{running.port}", credentials) as channel:
                stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
                call = stub.Predict.future(request("encode", images=[png()]), timeout=300)
                expected = grpc.StatusCode.OK if own[0] else grpc.StatusCode.UNAVAILABLE
                assert call.code() == expected
        context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
        url = f"https://localhost:{running.rest_port}/v1/models/encode"
        with pytest.raises(OSError, match=r"certificate required|alert|reset|closed"):
            urllib.request.urlopen(url, context=context, timeout=300).read()
        context.load_cert_chain(certificates / "client.pem", certificates / "client.key")
        with urllib.request.urlopen(url, context=context, timeout=300) as answer:
            assert json.load(answer)["model_version_status"][0]["version"] == "1"


def test_our_own_client_presents_a_certificate(first_release, certificates, tmp_path):
    tls = Tls(*(certificates / name for name in ("server.pem", "server.key", "ca.pem")))
    files = {name: certificates / f"client.{name}" for name in ("pem", "key")}
    own = {"tls_cert": files["pem"], "tls_key": files["key"]}
    with serving(first_release, tls=tls) as running:
        where = f"localhost:{running.port}"
        with Client(where, tls=certificates / "ca.pem", **own) as client:
            assert client.encode([png()]).release == 1
        stranger = Client(where, tls=certificates / "ca.pem", timeout=5)
        with stranger, pytest.raises(ServerError):
            stranger.encode([png()])
        (tmp_path / "a.png").write_bytes(png())
        arguments = [
            *("--server", where, "--tls-ca", str(certificates / "ca.pem")),
            *("--tls-cert", str(files["pem"]), "--tls-key", str(files["key"])),
        ]
        for command in (
            ["encode", str(tmp_path / "a.png"), "--out", str(tmp_path / "codes.npz")],
            ["decode", str(tmp_path / "codes.npz"), "--out", str(tmp_path / "decoded")],
            ["sample", "--count", "2", "--out", str(tmp_path / "drawn")],
        ):
            result = CliRunner().invoke(cli, [*command, *arguments])
            assert result.exit_code == 0, result.output
    assert (tmp_path / "decoded" / "a.png").is_file()
    with pytest.raises(PipelineError, match="tls_cert and tls_key go together"):
        Client(where, tls_key=files["key"])
    with pytest.raises(PipelineError, match=r"nowhere\.pem: No such file"):
        Client(where, **{**own, "tls_cert": "nowhere.pem"})
    usage = ["sample", "--out", "x", "--server", where, "--tls-cert", "c.pem"]
    assert "--tls-cert and --tls-key go together" in CliRunner().invoke(cli, usage).output


@pytest.mark.parametrize("key", ["names", "client.key", "nothing"])
def test_a_key_that_does_not_fit_is_told(first_release, certificates, key):
    tls = Tls(certificates / "server.pem", certificates / key)
    expected = "not a certificate and its key in PEM format"
    with pytest.raises(UserError, match=expected), serving(first_release, tls=tls):
        pass
