"""`vqvae serve` as a process of its own."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path


class ServedProcess:
    """The command on free ports; `grpc` and `rest` are what it says it listens on."""

    def __init__(self, store: Path, *options: str):
        command = [sys.executable, "-m", "pipeline", "serve", "--store", str(store)]
        command += ["--port", "0", "--rest-port", "0", "--poll", "0.2", *options]
        # A file: a pipe that nobody reads would hold the server up when it is full.
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed at the end
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self._errors, text=True
        )
        self.lines: list[str] = []
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if line.startswith("serving"):
                break
        else:
            raise AssertionError(self._said())
        self.grpc, self.rest = (int(re.findall(r":(\d+)", line)[0]) for line in self.lines[:2])

    def peak_mib(self) -> float:
        """The most memory that it ever had, in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024

    def stop(self) -> tuple[int, str, str]:
        """Asks it to end; its exit status, and what else it said."""
        self.process.send_signal(signal.SIGTERM)
        output, _ = self.process.communicate(timeout=60)
        return self.process.returncode, output, self._said()

    def _said(self) -> str:
        self._errors.seek(0)
        return self._errors.read()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        self._errors.close()
