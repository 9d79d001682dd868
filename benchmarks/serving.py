"""`vqvae serve` under load: 32 clients, three new releases meanwhile, with and without batching.

    make run && python -m benchmarks.serving
    python -m benchmarks.serving --root runs/digits --seconds 60 --clients 32

The clients ask as fast as they are answered: three in four over gRPC, the others over REST, mostly
for one image at a time. Every answer must come from one release, and none may fail. The same mix
also runs on the bare SavedModels, one call after the other and without any server, in as many
threads as the server has. Clients and server share the machine. Prints Markdown; fails if an answer
was wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import dataclasses
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from components.release_store import folder as folder_store
from components.release_store.release import MODELS, Release

THREADS = 2
RELEASES = 3

# What is asked for, and how often: model, signature, images.
MIX = {
    ("encode", "serving_default", 1): 35,
    ("encode", "serving_default", 16): 5,
    ("encode", "pixels", 4): 20,
    ("decode", "serving_default", 1): 25,
    ("sample", "serving_default", 1): 15,
}


@dataclasses.dataclass
class Load:
    """What the clients saw.

    Attributes:
        seconds: that they asked for.
        latencies: of each answer, by model, in seconds.
        images: in all answers.
        versions: that answered.
        problems: answers that failed or came from two releases.
    """

    seconds: float = 0.0
    latencies: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    images: int = 0
    versions: set[int] = dataclasses.field(default_factory=set)
    problems: list[str] = dataclasses.field(default_factory=list)

    def answered(self, model: str, images: int, seconds: float) -> None:
        self.latencies.setdefault(model, []).append(seconds)
        self.images += images

    def row(self, name: str, bare: Load) -> str:
        every = np.concatenate(list(self.latencies.values()))
        cells = [name, f"{len(every) / self.seconds:,.0f}", f"{self.images / self.seconds:,.0f}"]
        cells.append(f"{len(every) / self.seconds / (bare.requests / bare.seconds):.2f}")
        for model in ("encode", "decode", "sample"):
            p50, p99 = np.percentile(self.latencies[model], [50, 99]) * 1000
            cells.append(f"{p50:.1f} / {p99:.1f}")
        return f"| {' | '.join(cells)} |"

    @property
    def requests(self) -> int:
        return sum(map(len, self.latencies.values()))


def inputs_of(release: Release, model: str, signature: str, images: int) -> dict[str, np.ndarray]:
    """Inputs for a signature; the same at every call."""
    facts = release.manifest["model"]
    generator = np.random.default_rng(images)
    pixels = generator.integers(0, 256, (images, *facts["image"]), np.uint8)
    if model == "decode":
        shape = (images, *facts["code_shape"])
        return {"codes": generator.integers(0, facts["num_codes"], shape, np.int32)}
    if model == "sample":
        labels = np.full([images], -1, np.int32)
        return {"labels": labels, "seed": np.int64(images), "temperature": np.float32(1)}
    if signature == "pixels":
        return {"images": pixels}
    return {"images": np.array([tf.io.encode_png(each).numpy() for each in pixels], object)}


def bare(release: Release, seconds: float) -> Load:
    """The mix on the SavedModels themselves."""
    loaded = {name: tf.saved_model.load(str(release.path(name))) for name in ("encode", "decode")}
    loaded["sample"] = tf.saved_model.load(str(release.sample))
    calls = {each: (loaded[each[0]].signatures[each[1]], inputs_of(release, *each)) for each in MIX}
    for function, inputs in calls.values():
        function(**{name: tf.constant(value) for name, value in inputs.items()})
    load = Load(seconds)

    def work(seed: int) -> None:
        generator = random.Random(seed)
        end = time.perf_counter() + seconds
        while (start := time.perf_counter()) < end:
            (each,) = generator.choices(list(MIX), list(MIX.values()))
            function, inputs = calls[each]
            outputs = function(**{name: tf.constant(value) for name, value in inputs.items()})
            _ = {name: output.numpy() for name, output in outputs.items()}
            load.answered(each[0], each[2], time.perf_counter() - start)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return load


Ask = Callable[[tuple[str, str, int]], Awaitable[tuple[int | None, np.ndarray | None]]]


def over_grpc(release: Release, port: int) -> Ask:
    """A client with a connection of its own; answers are version and `release` rows."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    channel = grpc.aio.insecure_channel(f"localhost:{port}", options)
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    requests = {}
    for model, signature, images in MIX:
        request = requests[model, signature, images] = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = model, signature
        for name, value in inputs_of(release, model, signature, images).items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))

    async def ask(each):
        response = await stub.Predict(requests[each], timeout=30)
        rows = response.outputs.get("release")
        made_by = None if rows is None else tf.make_ndarray(rows)
        return response.model_spec.version.value, made_by

    return ask


def over_rest(release: Release, port: int, session: aiohttp.ClientSession) -> Ask:
    bodies = {}
    for model, signature, images in MIX:
        inputs = {}
        for name, value in inputs_of(release, model, signature, images).items():
            if value.dtype == object:
                inputs[name] = [{"b64": base64.b64encode(each).decode()} for each in value]
            else:
                inputs[name] = value.tolist()
        bodies[model, signature, images] = {"signature_name": signature, "inputs": inputs}

    async def ask(each):
        url = f"http://localhost:{port}/v1/models/{each[0]}:predict"
        async with session.post(url, json=bodies[each]) as answer:
            parsed = await answer.json()
            if answer.status != 200:
                raise RuntimeError(f"{answer.status} {parsed}")
        outputs = parsed["outputs"]
        rows = outputs.get("release") if isinstance(outputs, dict) else None
        return None, None if rows is None else np.array(rows)

    return ask


async def attack(release: Release, ports: tuple[int, int], clients: int, seconds: float) -> Load:
    """All clients for so long, with `RELEASES` new releases at even distances."""
    load = Load()
    end = time.perf_counter() + seconds

    async def client(ask: Ask, seed: int) -> None:
        generator = random.Random(seed)
        while (start := time.perf_counter()) < end:
            (each,) = generator.choices(list(MIX), list(MIX.values()))
            try:
                version, made_by = await ask(each)
            except Exception as error:
                load.problems.append(f"{each}: {error}")
                continue
            load.answered(each[0], each[2], time.perf_counter() - start)
            if made_by is not None:
                versions = set(made_by.tolist()) | ({version} if version else set())
                load.versions |= versions
                if len(versions) > 1 or len(made_by) != each[2]:
                    load.problems.append(f"{each}: releases {versions}")

    async def publish() -> None:
        candidates = {model: release.path(model) for model in MODELS}
        for _ in range(RELEASES):
            await asyncio.sleep(seconds / (RELEASES + 1))
            facts = {"codebook_sha256": release.manifest["codebook_sha256"]}
            await asyncio.to_thread(folder_store.publish, release.store, candidates, facts)

    start = time.perf_counter()
    async with aiohttp.ClientSession() as session:
        asks = [
            over_rest(release, ports[1], session) if i % 4 == 3 else over_grpc(release, ports[0])
            for i in range(clients)
        ]
        await asyncio.gather(publish(), *(client(ask, i) for i, ask in enumerate(asks)))
    load.seconds = time.perf_counter() - start
    return load


def served(store: Path, clients: int, seconds: float, max_batch: int) -> Load:
    """The load on a server of its own, over a copy of the store."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(store, Path(folder, "serving")))
        command = [sys.executable, "-m", "pipeline", "serve", "--store", str(copy)]
        command += ["--port", "0", "--rest-port", "0", "--threads", str(THREADS)]
        command += ["--max-batch", str(max_batch)]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            lines = [server.stdout.readline() for _ in range(3)]
            ports = tuple(int(re.findall(r":(\d+)", line)[0]) for line in lines[:2])
            load = asyncio.run(attack(folder_store.latest(copy), ports, clients, seconds))
        finally:
            server.terminate()
            server.communicate()
    return load


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.serving")
    parser.add_argument("--root", type=Path, default=Path("runs/digits"))
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=32)
    arguments = parser.parse_args()
    store = arguments.root / "serving"
    release = folder_store.latest(store)
    if release is None:
        sys.exit(f"nothing has been released to {store}; `make run` makes a release")
    baseline = bare(release, arguments.seconds / 4)
    loads = {
        f"batching, up to {rows} images" if rows else "no batching": served(
            store, arguments.clients, arguments.seconds, rows
        )
        for rows in (64, 0)
    }
    side = "×".join(map(str, release.manifest["model"]["image"]))
    print(
        f"Images of {side}; {arguments.clients} clients for {arguments.seconds:.0f} s, "
        f"{RELEASES} new releases meanwhile; server and SavedModels with {THREADS} threads.\n"
    )
    print(
        "| | requests/s | images/s | of the bare call's | encode p50 / p99 ms | decode | sample |\n"
        "|---|---|---|---|---|---|---|"
    )
    print(baseline.row(f"bare SavedModels, {THREADS} at a time", baseline))
    for name, load in loads.items():
        print(load.row(name, baseline))
    problems = [problem for load in loads.values() for problem in load.problems]
    answered = sum(load.requests for load in loads.values())
    versions = [sorted(load.versions) for load in loads.values()]
    print(
        f"\n{answered:,} answers of the releases {versions}, {len(problems)} failed or of more "
        "than one release."
    )
    if problems or any(len(found) != RELEASES + 1 for found in versions):
        sys.exit(f"wrong: {problems[:5]} {versions}")


if __name__ == "__main__":
    main()
