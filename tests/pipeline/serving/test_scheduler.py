"""How requests are joined, bounded and given up. The signatures are stand-ins that can be held."""

from __future__ import annotations

import asyncio
import threading

import grpc
import numpy as np
import pytest
import tensorflow as tf

from pipeline.serving.errors import RequestError
from pipeline.serving.metrics import Metrics
from pipeline.serving.scheduler import Scheduler


class Doubles:
    """y = 2 x, a row each; refuses negative x; runs only while it is not held."""

    model, version, name, batchable = "double", 1, "serving_default", True
    inputs = {"x": None}

    def __init__(self, batchable: bool = True):
        self.batchable = batchable
        self.batches: list[int] = []
        self.free = threading.Event()
        self.free.set()

    def __call__(self, inputs):
        assert self.free.wait(20)
        x = inputs["x"]
        self.batches.append(len(x))
        if (x < 0).any():
            raise tf.errors.InvalidArgumentError(None, None, "x must be 0 or more")
        return {"y": 2 * x}


def scheduler(threads=1, max_batch=8, max_waiting=100, max_waiting_bytes=10_000):
    return Scheduler(threads, max_batch, max_waiting, max_waiting_bytes, Metrics())


def ask(under_test: Scheduler, signature: Doubles, *values: int, seconds: float = 20.0):
    deadline = asyncio.get_running_loop().time() + seconds
    inputs = {"x": np.array(values)}
    return asyncio.ensure_future(under_test.run(signature, inputs, len(values), deadline))


async def settled():
    for _ in range(5):
        await asyncio.sleep(0)


def test_an_idle_thread_does_not_wait_for_company():
    async def main():
        signature, under_test = Doubles(), scheduler()
        assert (await ask(under_test, signature, 1))["y"].tolist() == [2]
        assert signature.batches == [1]
        await under_test.close()

    asyncio.run(main())


def test_requests_that_wait_run_together():
    async def main():
        signature, under_test = Doubles(), scheduler(max_batch=8)
        signature.free.clear()
        requests = [ask(under_test, signature, n, n + 100) for n in range(6)]
        await settled()
        signature.free.set()
        answers = [(await each)["y"].tolist() for each in requests]
        assert answers == [[2 * n, 2 * n + 200] for n in range(6)]
        # The first found a free thread; of the others as many as fit into 8 rows.
        assert signature.batches == [2, 8, 2]
        await under_test.close()

    asyncio.run(main())


def test_what_cannot_be_joined_runs_alone():
    async def main():
        for signature, under_test in (
            (Doubles(batchable=False), scheduler()),
            (Doubles(), scheduler(max_batch=0)),
        ):
            signature.free.clear()
            requests = [ask(under_test, signature, n) for n in range(4)]
            await settled()
            signature.free.set()
            await asyncio.gather(*requests)
            assert signature.batches == [1, 1, 1, 1]
            await under_test.close()

    asyncio.run(main())


def test_a_large_request_runs_in_parts():
    async def main():
        signature, under_test = Doubles(), scheduler(max_batch=8)
        answer = await ask(under_test, signature, *range(20))
        assert answer["y"].tolist() == [2 * n for n in range(20)]
        assert sorted(signature.batches) == [4, 8, 8]
        await under_test.close()

    asyncio.run(main())


def test_a_mistake_is_not_that_of_the_requests_beside_it():
    async def main():
        signature, under_test = Doubles(), scheduler()
        signature.free.clear()
        requests = [ask(under_test, signature, n) for n in (1, 2, -3, 4)]
        await settled()
        signature.free.set()
        answers = await asyncio.gather(*requests, return_exceptions=True)
        assert [each["y"].tolist() for each in (*answers[:2], answers[3])] == [[2], [4], [8]]
        assert answers[2].code == grpc.StatusCode.INVALID_ARGUMENT
        assert answers[2].message == "x must be 0 or more"
        await under_test.close()

    asyncio.run(main())


def test_too_many_requests_or_bytes_are_refused_at_once():
    async def main():
        for limits in ({"max_waiting": 3}, {"max_waiting_bytes": 3 * 8}):
            signature, under_test = Doubles(), scheduler(**limits)
            signature.free.clear()
            requests = [ask(under_test, signature, n) for n in range(3)]
            await settled()
            with pytest.raises(RequestError) as refused:
                await ask(under_test, signature, 4)
            assert refused.value.code == grpc.StatusCode.UNAVAILABLE
            signature.free.set()
            await asyncio.gather(*requests)
            assert (await ask(under_test, signature, 4))["y"].tolist() == [8]  # there is room again
            await under_test.close()

    asyncio.run(main())


def test_a_request_too_late_is_not_computed():
    async def main():
        signature, under_test = Doubles(), scheduler()
        signature.free.clear()
        first = ask(under_test, signature, 1)
        await settled()
        late = ask(under_test, signature, 2, 3, seconds=0.05)
        with pytest.raises(RequestError) as refused:
            await late
        assert refused.value.code == grpc.StatusCode.DEADLINE_EXCEEDED
        gone = ask(under_test, signature, 4, 5, 6)
        await settled()
        gone.cancel()
        signature.free.set()
        await first
        await ask(under_test, signature, 7)
        assert signature.batches == [1, 1]
        await under_test.close()

    asyncio.run(main())


def test_signatures_take_turns():
    async def main():
        order = []

        class Noted(Doubles):
            def __call__(self, inputs):
                result = super().__call__(inputs)
                order.append(self)
                return result

        busy, rare, under_test = Noted(batchable=False), Noted(), scheduler()
        busy.free.clear()
        requests = [ask(under_test, busy, n) for n in range(5)]
        await settled()
        requests.append(ask(under_test, rare, 1))
        await settled()
        busy.free.set()
        await asyncio.gather(*requests)
        assert order.index(rare) <= 2  # not behind all that had come before
        await under_test.close()

    asyncio.run(main())
