"""Speed of sampling from the prior, against the two ways without cached activations.

    python -m benchmarks.sampling
    python -m benchmarks.sampling --sides 32 --batches 16 --rounds 9 --kinds transformer

(a) runs the whole network once per position from Python, (b) in one `tf.while_loop`; both draw
as the sampler does. The floor is a single forward pass. All are run one after the other in each
round; the table has the medians over the rounds of the times and of the ratios within a round.
What would take too long is measured over the first positions and scaled: each position of (a)
and (b) costs the same. Prints Markdown.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from benchmarks.machine import Limits, limits
from models import draws, sampler
from models.config import PriorConfig
from models.priors import Prior, build_prior

NUM_CODES, NUM_CLASSES = 512, 10
# What one cell may spend on each of (a) and (b), in seconds, all rounds together.
BUDGET = 20.0


class Cell(NamedTuple):
    """One row of the table. Times in seconds."""

    kind: str
    side: int
    batch: int
    forward: float  # one pass of the network over all positions
    vertical: float  # the sampler with all rows given: a PixelCNN's vertical stacks only
    sampler: float
    python: float  # (a)
    loop: float  # (b)
    positions: int  # over which (a) and (b) were measured
    over_forward: float  # sampler / forward
    over_python: float  # (a) / sampler
    over_loop: float  # (b) / sampler


def measure(kind: str, side: int, batch: int, rounds: int) -> Cell:
    """Times the three samplers and the forward pass for codes of side × side."""
    prior = build_prior(PriorConfig(kind=kind), NUM_CODES, NUM_CLASSES, (side, side))
    labels = tf.range(batch) % NUM_CLASSES
    codes = tf.zeros([batch, side, side], tf.int32)
    seed, temperature = tf.constant(0, tf.int64), tf.constant(1.0)

    forward = tf.function(lambda codes: prior(codes, labels))
    sample = tf.function(lambda: sampler.sample(prior, labels, seed, temperature))
    given = tf.function(
        lambda: sampler.sample(prior, labels, seed, temperature, codes=codes, rows_given=side)
    )
    python, loop = _from_python(prior, labels, seed), _in_one_loop(prior, labels, seed)

    _timed(lambda: forward(codes))  # traced
    each = min(_timed(lambda: forward(codes)) for _ in range(3))
    positions = max(2, min(side * side, int(BUDGET / (rounds * each))))
    contenders: dict[str, Callable[[], tf.Tensor]] = {
        "forward": lambda: forward(codes),
        "vertical": given,
        "sampler": sample,
        "python": lambda: python(positions),
        "loop": lambda: loop(tf.constant(positions)),
    }
    for name, contender in contenders.items():  # traced
        loop(tf.constant(1)) if name == "loop" else python(1) if name == "python" else contender()
    times = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            times[name].append(_timed(contender))
    scale = side * side / positions
    for name in ("python", "loop"):
        times[name] = [scale * seconds for seconds in times[name]]

    def ratio(numerator: str, denominator: str) -> float:
        pairs = zip(times[numerator], times[denominator], strict=True)
        return statistics.median(a / b for a, b in pairs)

    return Cell(
        kind,
        side,
        batch,
        **{name: statistics.median(seconds) for name, seconds in times.items()},
        positions=positions,
        over_forward=ratio("sampler", "forward"),
        over_python=ratio("python", "sampler"),
        over_loop=ratio("loop", "sampler"),
    )


def _from_python(prior: Prior, labels, seed) -> Callable[[int], tf.Tensor]:
    rows, columns = prior.code_shape
    uniform = draws.noise(seed, labels.shape[0], rows * columns)

    @tf.function
    def step(codes, row, column):
        logits = prior(codes, labels)[:, row, column]
        return draws.draw(logits, tf.gather(uniform, row * columns + column, axis=1), 1.0)

    def sample(positions: int):
        codes = tf.zeros([labels.shape[0], rows, columns], tf.int32).numpy()
        for position in range(positions):
            row, column = divmod(position, columns)
            codes[:, row, column] = step(codes, tf.constant(row), tf.constant(column))
        return tf.constant(codes)

    return sample


def _in_one_loop(prior: Prior, labels, seed) -> Callable[[tf.Tensor], tf.Tensor]:
    rows, columns = prior.code_shape
    uniform = tf.transpose(draws.noise(seed, labels.shape[0], rows * columns))

    @tf.function
    def sample(positions):
        def step(position, codes):
            logits = prior(codes, labels)[:, position // columns, position % columns]
            drawn = tf.cast(draws.draw(logits, uniform[position], 1.0), tf.int32)[:, None]
            here = tf.range(rows * columns) == position
            flat = tf.where(here, drawn, tf.reshape(codes, [-1, rows * columns]))
            return position + 1, tf.reshape(flat, [-1, rows, columns])

        empty = tf.zeros([labels.shape[0], rows, columns], tf.int32)
        return tf.while_loop(lambda position, _: position < positions, step, (0, empty))[1]

    return sample


def arithmetic(config: PriorConfig, num_codes: int) -> tuple[float, float]:
    """Floating-point operations per position of the vertical stack, and of all the rest."""
    units, reach = config.hidden_units, config.kernel_size // 2
    vertical = (reach + 1) * config.kernel_size * units * 2 * units + (2 * units) ** 2
    horizontal = (reach + 1) * units * 2 * units + units * units
    head = units * config.head_units + config.head_units * num_codes
    return 2.0 * config.layers * vertical, 2.0 * (config.layers * horizontal + head)


def table(cells: list[Cell]) -> str:
    """The measurements as Markdown."""
    lines = [
        "| prior | codes | batch | one forward pass | sampler | images/s | (a) Python "
        "| (b) one loop | sampler / forward | (a) / sampler | (b) / sampler |",
        "|---" * 11 + "|",
    ]
    for cell in cells:
        scaled = "" if cell.positions == cell.side**2 else f" ({cell.positions} positions, scaled)"
        lines.append(
            f"| {cell.kind} | {cell.side}×{cell.side} | {cell.batch} | {_seconds(cell.forward)} "
            f"| {_seconds(cell.sampler)} | {cell.batch / cell.sampler:.1f} "
            f"| {_seconds(cell.python)}{scaled} | {_seconds(cell.loop)}{scaled} "
            f"| {cell.over_forward:.1f} | {cell.over_python:.0f} | {cell.over_loop:.0f} |"
        )
    return "\n".join(lines)


def where_the_time_goes(cells: list[Cell], machine: Limits) -> str:
    """Times per position of a PixelCNN's sampler beside the arithmetic at the machine's peak."""
    vertical, rest = arithmetic(PriorConfig(), NUM_CODES)
    lines = [
        f"{machine} Per position of the Gated PixelCNN, in µs:",
        "",
        "| codes | batch | forward pass | arithmetic at peak | sampler: vertical "
        "| arithmetic at peak | sampler: rest | arithmetic at peak | rest, in operations |",
        "|---" * 9 + "|",
    ]
    for cell in cells:
        each = 1e6 / cell.side**2
        peak = 1e6 * cell.batch / machine.flops
        remainder = (cell.sampler - cell.vertical) * each
        lines.append(
            f"| {cell.side}×{cell.side} | {cell.batch} | {cell.forward * each:.0f} "
            f"| {(vertical + rest) * peak:.0f} | {cell.vertical * each:.0f} "
            f"| {vertical * peak:.0f} | {remainder:.0f} | {rest * peak:.0f} "
            f"| {remainder / (machine.operation * 1e6):.0f} |"
        )
    return "\n".join(lines)


def report(kinds: list[str], sides: list[int], batches: list[int], rounds: int) -> str:
    """Measures everything; Markdown."""
    config = PriorConfig()
    quiet = limits()
    cells = [
        measure(kind, side, batch, rounds) for kind in kinds for side in sides for batch in batches
    ]
    machine = quiet.better(limits())
    return "\n".join(
        [
            f"{config.layers} layers of {config.hidden_units} units: a Gated PixelCNN with "
            f"{config.kernel_size}×{config.kernel_size} kernels, a transformer with "
            f"{config.heads} heads; K = {NUM_CODES}; medians of {rounds} rounds.",
            "",
            table(cells),
            "",
            where_the_time_goes([cell for cell in cells if cell.kind == "pixelcnn"], machine),
        ]
    )


def _timed(function: Callable[[], tf.Tensor]) -> float:
    started = time.perf_counter()
    function().numpy()
    return time.perf_counter() - started


def _seconds(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kinds", nargs="+", default=["pixelcnn", "transformer"])
    parser.add_argument("--sides", type=int, nargs="+", default=[7, 16, 32])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    print(report(arguments.kinds, arguments.sides, arguments.batches, arguments.rounds))


if __name__ == "__main__":
    main()
