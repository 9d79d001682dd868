"""What `dataset.json` says of the records of one kind, and how it is collected from them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from pipeline.datasets.source import LabelledImage
    from pipeline.datasets.utterance import Utterance

Kind_contra = TypeVar("Kind_contra", contravariant=True)


class Words(NamedTuple):
    """What messages call things."""

    record: str
    records: str  # also the key of their counts in dataset.json
    label: str
    labels: str
    damaged: str  # "3 images that …"
    passed_over: str  # "3 files that …"


class Summary(Protocol[Kind_contra]):
    """Collects the facts while records of one kind are written."""

    def add(self, split: str, record: Kind_contra) -> None: ...

    def facts(self) -> Facts: ...


@dataclass(frozen=True)
class ImageFacts:
    """`height` and `width` are the smallest and the largest, in pixels."""

    height: tuple[int, int]
    width: tuple[int, int]

    WORDS: ClassVar = Words(
        *("image", "images", "class", "classes"),
        "cannot be decoded",
        "Pillow cannot read as an image",
    )

    def __str__(self) -> str:
        return f"images of {_range(self.height)}×{_range(self.width)}"


class ImageSummary:
    """Collects `ImageFacts`."""

    def __init__(self) -> None:
        self._heights, self._widths = _Range(), _Range()

    def add(self, split: str, record: LabelledImage) -> None:
        self._heights.add(record.height)
        self._widths.add(record.width)

    def facts(self) -> ImageFacts:
        return ImageFacts(self._heights.bounds, self._widths.bounds)


@dataclass(frozen=True)
class AudioFacts:
    """How much speech there is, and what may be done with it.

    `rate` is the lowest and the highest, in Hz. `speech[split][speaker]` is the number of
    utterances and of seconds; all are of the speaker `""` where nobody is named.
    """

    rate: tuple[int, int]
    speech: dict[str, dict[str, dict[str, float]]]
    licences: list[dict[str, Any]] = field(default_factory=list)

    WORDS: ClassVar = Words(
        *("utterance", "utterances", "speaker", "speakers"),
        "cannot be used",
        "are not WAV, FLAC, Ogg, MP3 or G.722 audio",
    )

    def __str__(self) -> str:
        each = [counts for split in self.speech.values() for counts in split.values()]
        minutes = sum(counts["seconds"] for counts in each) / 60
        return f"utterances, {minutes:,.1f} minutes at {_range(self.rate)} Hz"


class AudioSummary:
    """Collects `AudioFacts`.

    Args:
        speakers: the name of label i at place i; None where there are none.
        licences: of what the utterances were made of, if it is known.
    """

    def __init__(
        self, speakers: tuple[str, ...] | None, licences: tuple[dict[str, Any], ...] = ()
    ) -> None:
        self._speakers = speakers
        self._licences = licences
        self._rates = _Range()
        self._utterances: dict[tuple[str, str], int] = defaultdict(int)
        self._seconds: dict[tuple[str, str], float] = defaultdict(float)

    def add(self, split: str, record: Utterance) -> None:
        speaker = (
            self._speakers[record.label] if self._speakers and record.label is not None else ""
        )
        self._rates.add(record.rate)
        self._utterances[split, speaker] += 1
        self._seconds[split, speaker] += record.seconds

    def facts(self) -> AudioFacts:
        speech: dict[str, dict[str, dict[str, float]]] = {}
        for split, speaker in sorted(self._seconds):
            speech.setdefault(split, {})[speaker] = {
                "utterances": self._utterances[split, speaker],
                "seconds": round(self._seconds[split, speaker], 1),
            }
        return AudioFacts(self._rates.bounds, speech, list(self._licences))


# Of all records of a data set; their fields are keys of dataset.json.
Facts = ImageFacts | AudioFacts


class _Range:
    """The smallest and the largest of the numbers it is given."""

    def __init__(self) -> None:
        self.bounds = (0, 0)
        self._empty = True

    def add(self, number: int) -> None:
        low, high = (number, number) if self._empty else self.bounds
        self.bounds, self._empty = (min(low, number), max(high, number)), False


def _range(bounds: tuple[int, int]) -> str:
    low, high = bounds
    return str(low) if low == high else f"{low}–{high}"
