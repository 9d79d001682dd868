"""Addresses of this machine, to which a proxy in the environment is no way."""

from __future__ import annotations

import ipaddress
import os
import re

_NAMES = ("localhost", "127.0.0.1", "::1")


def is_local(target: str) -> bool:
    """Whether a gRPC target, such as `localhost:8500`, is on this machine."""
    if target.startswith("unix:"):
        return True
    address = re.sub(r"^(dns|ipv4|ipv6):(//[^/]*/)?", "", target)
    bracketed = re.fullmatch(r"\[(.*)\](:\d+)?", address)
    host = bracketed[1] if bracketed else address.rpartition(":")[0] or address
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return host.lower() == "localhost"
    return found.is_loopback or found.is_unspecified


def go_direct() -> None:
    """Has every client in this process, and in its children, pass a proxy over for them."""
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return
    passed_over = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    if passed_over.strip() == "*":
        return
    names = [name.strip() for name in passed_over.split(",") if name.strip()]
    value = ",".join([*names, *(name for name in _NAMES if name not in names)])
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = value
