"""The Dockerfile, as far as that goes without building it, which `make image-check` does."""

from __future__ import annotations

import os
import re
import subprocess

from tests import ROOT

TEXT = (ROOT / "Dockerfile").read_text()
INSTRUCTIONS = re.sub(r"\\\n", " ", re.sub(r"(?m)^\s*#.*\n", "", TEXT)).splitlines()


def arguments(instruction: str) -> list[list[str]]:
    return [line.split()[1:] for line in INSTRUCTIONS if line.split()[:1] == [instruction]]


def test_it_copies_what_exists_and_the_build_context_has():
    allowed = {
        line[1:]
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    sources = {
        source
        for copy in arguments("COPY")
        if not copy[0].startswith("--from")
        for source in copy[:-1]
    }
    assert sources == allowed
    assert all((ROOT / source).exists() for source in sources)


def test_both_targets_run_as_a_numeric_user_who_is_not_root():
    stages = {stage[-1]: stage[0] for stage in arguments("FROM")}
    assert stages["cpu"] == stages["gpu"] == "runtime"
    assert arguments("FROM")[-1][-1] == "cpu"  # what is built by default
    assert arguments("USER") == [["1000:1000"]]
    after = TEXT[TEXT.index("USER 1000:1000") :]
    assert "USER root" not in after


def test_it_names_no_host_and_holds_no_credentials():
    instructions = "\n".join(INSTRUCTIONS)
    assert "://" not in instructions
    assert not re.search(r"(?i)(password|token|secret_access_key)\s*=", instructions)
    assert not any("index" in " ".join(env).lower() for env in arguments("ENV") + arguments("ARG"))


def test_the_base_is_an_argument():
    assert arguments("ARG")[0] == ["BASE=debian:trixie-slim"]
    assert arguments("FROM")[0][0] == "${BASE}"


def test_an_unknown_target_gets_one_line():
    environment = {**os.environ, "TARGET": "tpu"}
    done = subprocess.run(
        [ROOT / "scripts" / "image_check.sh"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr == "error: TARGET=tpu: must be cpu or gpu\n"


def test_each_target_can_be_checked():
    """Those that the check accepts are the Dockerfile's."""
    (accepted,) = re.findall(
        r"case \$target in (.+?)\)", (ROOT / "scripts/image_check.sh").read_text()
    )
    stages = {stage[-1]: stage[0] for stage in arguments("FROM")}
    final = {name for name, base in stages.items() if base == "runtime"}
    assert set(accepted.split(" | ")) == final
