"""Which addresses are on this machine, and that no proxy is asked for them."""

from __future__ import annotations

import os
import urllib.request

import pytest

from pipeline.inference import local_addresses


@pytest.mark.parametrize(
    ("target", "local"),
    [
        ("localhost:8500", True),
        ("LOCALHOST", True),
        ("127.0.0.1:8500", True),
        ("127.8.9.10:8500", True),
        ("0.0.0.0:8500", True),
        ("[::1]:8500", True),
        ("[::1]", True),
        ("dns:///localhost:8500", True),
        ("ipv4:127.0.0.1:8500", True),
        ("unix:/run/vqvae.sock", True),
        ("localhost.example.com:8500", False),
        ("models:8500", False),
        ("10.0.0.7:8500", False),
        ("dns:///models.svc:8500", False),
        ("[2001:db8::1]:8500", False),
    ],
)
def test_is_local(target, local):
    assert local_addresses.is_local(target) is local


@pytest.fixture
def proxied(monkeypatch):
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    for name in ("no_proxy", "NO_PROXY"):  # taken away again afterwards
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("http_proxy", "http://proxy.example.com:3128")
    return monkeypatch


def test_no_proxy_is_asked_for_local_addresses(proxied):
    proxied.setenv("NO_PROXY", "10.0.0.7, localhost")
    local_addresses.go_direct()
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == "10.0.0.7,localhost,127.0.0.1,::1"
    for host in ("localhost:9000", "127.0.0.1:9000", "10.0.0.7"):
        assert urllib.request.proxy_bypass(host)
    assert not urllib.request.proxy_bypass("models.example.com")


def test_without_a_proxy_the_environment_stays(proxied):
    proxied.delenv("http_proxy")
    before = dict(os.environ)
    local_addresses.go_direct()
    assert dict(os.environ) == before
