"""Speech that Debian packages carry: prompts of telephone systems, and a voice for synthesis."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pipeline.config.config import ConfigError
from pipeline.datasets import festvox

_SOUNDS = Path("usr/share/asterisk/sounds")
_FESTVOX = Path("usr/share/festival/voices/russian/msu_ru_nsh_clunits")
_G722 = ".g722"
# Below each voice's folder: pauses, and sounds that are the same for every voice.
_SILENCE = "silence"
_NO_SPEECH = {
    *("ascending-2tone", "descending-2tone", "beep", "beeperr"),
    *("confbridge-join", "confbridge-leave", "tt-monkeys"),
}


@dataclass(frozen=True)
class Package:
    """A Debian package with recordings of one speaker; licences as its copyright file has them."""

    name: str
    folder: Path  # of its recordings, below the root of the file system
    speaker: str
    language: str
    licence: str
    copyright: str

    @property
    def voice(self) -> str:
        return "msu_ru_nsh" if self.folder == _FESTVOX else self.folder.name


def _prompts(language: str, voice: str, speaker: str, licence: str, owner: str) -> Package:
    name = f"asterisk-core-sounds-{language[:2]}-g722"
    return Package(name, _SOUNDS / voice, speaker, language, licence, owner)


# The English and the Spanish prompts are spoken by one person.
PACKAGES = (
    _prompts("en-US", "en_US_f_Allison", "Allison", "CC-BY-SA-3.0", "2003-2010 Allison Smith"),
    _prompts("es-MX", "es_MX_f_Allison", "Allison", "CC-BY-SA-3.0", "2003-2010 Allison Smith"),
    _prompts("fr-CA", "fr_CA_f_June", "June", "CC-BY-SA-3.0", "2006-2008 June Wallack"),
    _prompts("it-IT", "it_IT_m_Carlo", "Carlo", "CC-BY-3.0", "2012 Carlo Flora"),
    _prompts("ru-RU", "ru_RU_f_IvrvoiceRU", "IvrvoiceRU", "CC-BY-3.0", "2010 Maxim Topal"),
    Package("festvox-ru", _FESTVOX, "nsh", "ru-RU", "BSD-like", "2005 Nickolay V. Shmyrev"),
)
SPEAKERS = tuple(sorted({package.speaker for package in PACKAGES}))


class Spoken(NamedTuple):
    """A recording in a package."""

    path: Path
    id: str  # `en_US_f_Allison/digits/1`, `msu_ru_nsh/ru_0001`
    package: Package
    prompt: str  # what is said, in whatever language: `digits/1`, `ru_0001`
    text: str = ""  # where there is a transcript
    phones: tuple[festvox.Phone, ...] = ()  # where they are known


def installed(root: Path | None) -> dict[Package, Path]:
    """Package -> folder of its recordings.

    Args:
        root: folder that the packages are unpacked in, together or each in a folder of its name;
            None for where apt-get puts them.

    Raises:
        ConfigError: naming all that are missing.
    """
    base = root or Path("/")
    found: dict[Package, Path] = {}
    for package in PACKAGES:
        for place in (base / package.folder, base / package.name / package.folder):
            if any(place.rglob(f"*{_G722}")) or (place / festvox.RECORDINGS).is_dir():
                found.setdefault(package, place)
    missing = " ".join(package.name for package in PACKAGES if package not in found)
    if missing:
        raise ConfigError(
            f"speech: packages are missing below {base}: `apt-get install {missing}` puts them "
            "there; or `apt-get download` them, unpack each with `dpkg-deb -x FILE.deb DIR` and "
            "name that folder with --source DIR"
        )
    return found


def spoken(package: Package, folder: Path) -> Iterator[Spoken]:
    """The recordings of a package that hold speech, sorted.

    Raises:
        ConfigError: its transcripts or its phones cannot be read.
    """
    if package.folder == _FESTVOX:
        for each in festvox.utterances(folder):
            id = f"{package.voice}/{each.name}"
            yield Spoken(each.recording, id, package, each.name, each.text, each.phones)
        return
    for path in sorted(folder.rglob(f"*{_G722}")):
        prompt = path.relative_to(folder).with_suffix("").as_posix()
        if not prompt.startswith(f"{_SILENCE}/") and prompt not in _NO_SPEECH:
            yield Spoken(path, f"{package.voice}/{prompt}", package, prompt)
