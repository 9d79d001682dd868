"""Quantizers against their peers: time and memory of a training step.

    python -m benchmarks.quantizers [--json FILE] [--codes 512 8192] [--peers DIRECTORY]

A step is the forward pass, the gradient of the encodings and the update of the moving averages,
for N = 65,536 encodings of D = 64 in float32, as a codebook of K = 512, 8,192 and 65,536 sees them
in training. Peers are installed by pip into an environment of their own, made at the first run.
Every case runs in a process of its own, one at a time, so that the peak of its memory is its own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

VECTORS, DIM = 65_536, 64
CODES = (512, 8_192, 65_536)
REQUIREMENTS = (
    "torch==2.13.0",
    "vector-quantize-pytorch==1.32.0",
    "tensorflow==2.21.0",
    "dm-sonnet==2.0.2",
)
PEERS = Path(__file__).parent / ".peers"
OURS = "ours"
NAMES = {OURS: "ours", "sonnet": "dm-sonnet", "pytorch": "vector-quantize-pytorch"}

# Repetitions of a step: as many as fit into this many seconds, within bounds.
_SECONDS = 20.0
_LEAST, _MOST = 3, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="also write the results here")
    parser.add_argument("--codes", type=int, nargs="+", default=CODES, help="sizes of the codebook")
    parser.add_argument("--peers", type=Path, default=PEERS, help="environment of the peers")
    parser.add_argument(
        "--memory-limit",
        type=float,
        default=0.8 * _available_gib(),
        help="GiB that a case may use; by default 80 %% of what is free",
    )
    parser.add_argument("--case", nargs=2, metavar=("NAME", "CODES"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        _limit_memory(arguments.memory_limit)
        print(json.dumps(_measure(arguments.case[0], int(arguments.case[1]))))
        return
    results = compare(arguments.codes, arguments.peers, arguments.memory_limit)
    print(
        f"N = {VECTORS:,}, D = {DIM}, float32; a case may use {arguments.memory_limit:.0f} GiB. "
        f"{', '.join(REQUIREMENTS)}.\n"
    )
    print(table(results))
    print()
    print(where_the_time_goes(results))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def compare(codes: list[int], peers: Path, memory_limit: float) -> list[dict]:
    """Runs every case; one dictionary per case, with `error` where it could not run."""
    python = _peer_environment(peers)
    results = []
    for num_codes in codes:
        for name in NAMES:
            executable = sys.executable if name == OURS else str(python)
            results.append(_run(executable, name, num_codes, memory_limit))
            print(_line(results[-1]), file=sys.stderr, flush=True)
    return results


def table(results: list[dict]) -> str:
    """The results as a Markdown table; ratios are the peer's figure over ours."""
    rows = [
        "| K | quantizer | step, s | CPU, s | peak memory, MiB | time / ours | memory / ours |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in results:
        name = NAMES[result["name"]]
        if "error" in result:
            rows.append(f"| {result['codes']:,} | {name} | {result['error']} | | | | |")
            continue
        ours = next(r for r in results if r["name"] == OURS and r["codes"] == result["codes"])
        ratios = [result[key] / ours[key] for key in ("seconds", "peak_mib")]
        rows.append(
            f"| {result['codes']:,} | {name} | {result['seconds']:.3f} | "
            f"{result['cpu_seconds']:.3f} | {result['peak_mib']:,.0f} | "
            f"{ratios[0]:.2f} | {ratios[1]:.2f} |"
        )
    return "\n".join(rows)


def where_the_time_goes(results: list[dict]) -> str:
    """Our steps beside what the products of encodings and embeddings take at the peak."""
    from benchmarks.machine import limits

    machine = limits()
    lines = [
        f"{machine} The products of all encodings with all embeddings are 2·N·K·D operations:",
        "",
        "| K | our step, s | products at the peak, s | share |",
        "|---|---|---|---|",
    ]
    for result in results:
        if result["name"] == OURS and "error" not in result:
            products = 2.0 * VECTORS * result["codes"] * DIM / machine.flops
            lines.append(
                f"| {result['codes']:,} | {result['seconds']:.3f} | {products:.3f} "
                f"| {products / result['seconds']:.0%} |"
            )
    return "\n".join(lines)


def _line(result: dict) -> str:
    figures = result.get("error") or (
        f"{result['seconds']:.3f} s, {result['peak_mib']:,.0f} MiB, load {result['load']:.1f}"
    )
    return f"K = {result['codes']:,}, {NAMES[result['name']]}: {figures}"


def _peer_environment(folder: Path) -> Path:
    """The Python of an environment with the peers, made if it is not there."""
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *REQUIREMENTS], check=True)
        (folder / "complete").touch()
    return python


def _run(executable: str, name: str, num_codes: int, memory_limit: float) -> dict:
    case = {"name": name, "codes": num_codes, "load": os.getloadavg()[0]}
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(
        [executable, __file__, "--case", name, str(num_codes), "--memory-limit", str(memory_limit)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root), "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    if done.returncode == 0:
        return case | json.loads(done.stdout.splitlines()[-1])
    words = ("memory", "OOM", "bad_alloc", "ResourceExhausted")
    if done.returncode < 0 or any(word in done.stderr for word in words):
        return case | {"error": f"more than {memory_limit:.0f} GiB"}
    return case | {"error": done.stderr.strip().splitlines()[-1][:200]}


def _measure(name: str, num_codes: int) -> dict:
    """Times one case in this process."""
    step = {OURS: _ours, "sonnet": _sonnet, "pytorch": _pytorch}[name](num_codes)
    before = _peak_mib()
    step()
    walls, cpus = [], []
    begun = time.perf_counter()
    while len(walls) < _LEAST or (len(walls) < _MOST and time.perf_counter() - begun < _SECONDS):
        wall, cpu = time.perf_counter(), time.process_time()
        step()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return {
        "seconds": statistics.median(walls),
        "cpu_seconds": statistics.median(cpus),
        # What the steps took on top of the libraries, the data and the weights.
        "peak_mib": _peak_mib() - before,
        "process_mib": _peak_mib(),
    }


def _ours(num_codes: int):
    import tensorflow as tf

    from models.config import QuantizerConfig
    from models.quantizers import EMAQuantizer

    quantizer = EMAQuantizer(QuantizerConfig(num_codes=num_codes, embedding_dim=DIM))

    def forward(z):
        output = quantizer(z, training=True)
        for variable, value in quantizer.updates(output.statistics):
            variable.assign(value)
        return output.quantized, tf.add_n(list(output.losses.values()))

    return _tensorflow_step(forward)


def _sonnet(num_codes: int):
    import sonnet as snt

    quantizer = snt.nets.VectorQuantizerEMA(DIM, num_codes, commitment_cost=0.25, decay=0.99)

    def forward(z):
        output = quantizer(z, is_training=True)
        return output["quantize"], output["loss"]

    return _tensorflow_step(forward)


def _tensorflow_step(forward):
    import tensorflow as tf

    z = tf.random.stateless_normal([VECTORS, DIM], [0, 0])
    upstream = tf.random.stateless_normal([VECTORS, DIM], [0, 1])

    @tf.function
    def step(z, upstream):
        with tf.GradientTape() as tape:
            tape.watch(z)
            quantized, loss = forward(z)
            loss += tf.reduce_sum(quantized * upstream)
        return tape.gradient(loss, z)

    return lambda: step(z, upstream).numpy()


def _pytorch(num_codes: int):
    import torch
    from vector_quantize_pytorch import VectorQuantize

    quantizer = VectorQuantize(
        dim=DIM,
        codebook_size=num_codes,
        decay=0.99,
        commitment_weight=0.25,
        rotation_trick=False,  # its default, and slower
    ).train()
    z = torch.randn(1, VECTORS, DIM, requires_grad=True)
    upstream = torch.randn(1, VECTORS, DIM)

    def step():
        z.grad = None
        quantized, _, loss = quantizer(z)
        (loss.sum() + (quantized * upstream).sum()).backward()
        return z.grad.numpy()

    return step


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _available_gib() -> float:
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30


def _limit_memory(gib: float) -> None:
    """Allocations beyond this fail, instead of the whole machine."""
    limit = int(gib * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


if __name__ == "__main__":
    main()
