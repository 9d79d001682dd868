"""Which releases servers load, under which labels, and how releases and people change that.

`stable` is the release that everybody means. The one that was stable before it stays loaded where
its version is lower, so that going back to it needs no load and clients that name it go on. A
higher one never does: who names no version is answered by the highest that is loaded. `canary` is
a release beside these, for those who ask for it.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

from components.release_store.release import StoreError

Rollout = Literal["stable", "canary"]


@dataclasses.dataclass(frozen=True)
class Served:
    """What servers are told to load.

    Attributes:
        stable: the release under the label `stable`.
        canary: the one under the label `canary`, if there is one.
        versions: all that are loaded, rising; without a label too.
    """

    stable: int
    canary: int | None = None
    versions: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        labelled = {self.stable} if self.canary is None else {self.stable, self.canary}
        object.__setattr__(self, "versions", tuple(sorted(labelled.union(self.versions))))

    @property
    def previous(self) -> int | None:
        """The release to go back to without a load."""
        lower = (v for v in self.versions if v < self.stable and v != self.canary)
        return max(lower, default=None)

    def state(self, version: int) -> str:
        """`stable`, `canary`, `served` (the previous one) or nothing."""
        if version == self.stable:
            return "stable"
        if version == self.canary:
            return "canary"
        return "served" if version in self.versions else ""


def released(before: Served | None, version: int, rollout: Rollout) -> Served:
    """After a push of `version`, the newest. A direct one (`stable`) ends a canary.

    The first release of a store is stable whatever is asked for. Nothing changes where a newer
    release is stable or the canary already, as when a slow writer comes late.
    """
    if before is None:
        return Served(version)
    if version <= before.versions[-1]:
        return before
    if rollout == "canary":
        return _with_canary(before, version)
    return Served(version, versions=(before.stable,))


def promoted(before: Served | None, version: int) -> Served:
    """After `version` was made the stable release by hand; this ends a canary in any case.

    Forward, the release that was stable stays loaded. Back, `version` alone is loaded: what is
    higher would answer those who name no version.
    """
    if before is None or version < before.stable:
        return Served(version)
    previous = before.previous if version == before.stable else before.stable
    return Served(version, versions=() if previous is None else (previous,))


def canary_set(before: Served | None, version: int | None, store: str | Path) -> Served:
    """After `version` was made the canary by hand, or with None the canary was ended.

    Raises:
        StoreError: there is no stable release, or it is the version.
    """
    if before is None:
        raise StoreError(f"no release is served from {store} yet; a canary is served beside one")
    if version == before.stable:
        raise StoreError(
            f"release {version} is the stable one in {store}; name another as the canary"
        )
    return _without_canary(before) if version is None else _with_canary(before, version)


def _with_canary(before: Served, version: int) -> Served:
    return Served(before.stable, version, _without_canary(before).versions)


def _without_canary(before: Served) -> Served:
    # A canary that is lower than the stable release may be the previous one too.
    previous = before.previous
    if previous is None and before.canary is not None and before.canary < before.stable:
        previous = before.canary
    return Served(before.stable, versions=() if previous is None else (previous,))
