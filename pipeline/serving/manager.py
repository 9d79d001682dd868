"""Which servables answer requests now: follows the release store, loads, switches, unloads."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import logging
import weakref
from collections.abc import Callable

import grpc
from tensorflow_serving.config import model_server_config_pb2

from components.errors import one_line
from pipeline.serving import model_config
from pipeline.serving.errors import RequestError
from pipeline.serving.followed_store import FollowedStore
from pipeline.serving.metrics import Metrics
from pipeline.serving.servable import Servable

_LOG = logging.getLogger(__name__)

# How long a release that could not be loaded is left alone.
_RETRY_SECONDS = 30.0


@dataclasses.dataclass(frozen=True)
class _Model:
    """What one model serves; never changed, only replaced."""

    versions: dict[int, Servable]
    labels: dict[str, int]


@dataclasses.dataclass
class State:
    """Where a version is in its life: START, LOADING, AVAILABLE, UNLOADING, END."""

    name: str
    code: grpc.StatusCode = grpc.StatusCode.OK
    message: str = ""


class Manager:
    """Keeps a table of what is served, and replaces it whole.

    All servables of a new configuration are loaded and warmed up beside the old ones; then the
    table changes in one step, for all models at once. A request that has found its servable keeps
    it; an old one is freed when its last request has ended. If a version with a label cannot be
    loaded, the old table stays. Only of the first configuration, while nothing is served, each
    model enters the table as soon as it can answer.

    Args:
        store: whose `models.config` is followed.
        metrics: is told what is served.
        on_change: called after each change with the versions by model.
    """

    def __init__(
        self,
        store: FollowedStore,
        metrics: Metrics,
        on_change: Callable[[dict[str, list[int]]], None],
    ):
        self._store = store
        self._metrics = metrics
        self._on_change = on_change
        self._table: dict[str, _Model] = {}
        self._states: dict[tuple[str, int], State] = {}
        self._progress = asyncio.Condition()
        self._is_starting = True
        self._followed: str | None = None  # the text of models.config that was applied last

    def find(self, name: str, version: int | None = None, label: str = "") -> Servable:
        """The servable for a request: of a version, of a label, or the highest version.

        Raises:
            RequestError: NOT_FOUND, or INVALID_ARGUMENT for a label that there is not.
        """
        if not name:
            raise RequestError(grpc.StatusCode.INVALID_ARGUMENT, "ModelSpec has no name specified.")
        model = self._table.get(name)
        if label:
            if model is None or label not in model.labels:
                raise RequestError(
                    grpc.StatusCode.INVALID_ARGUMENT,
                    f"Unrecognized servable version label: {label}",
                )
            version = model.labels[label]
        if model is None or not model.versions or version not in {None, *model.versions}:
            asked = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise RequestError(
                grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {asked}"
            )
        return model.versions[max(model.versions) if version is None else version]

    def states(self, name: str, version: int | None = None, label: str = "") -> dict[int, State]:
        """Version -> state of the versions of a model, or of the one asked for.

        Raises:
            RequestError: NOT_FOUND.
        """
        if label:
            version = self.find(name, label=label).version
        found = {number: state for (model, number), state in self._states.items() if model == name}
        if version is not None:
            found = {number: state for number, state in found.items() if number == version}
            if not found:
                raise RequestError(
                    grpc.StatusCode.NOT_FOUND,
                    f"Could not find version {version} of model {name}",
                )
        if not found:
            raise RequestError(
                grpc.StatusCode.NOT_FOUND, f"Could not find any versions of model {name}"
            )
        return dict(sorted(found.items(), reverse=True))

    def is_starting(self, name: str) -> bool:
        """Whether the server is starting, and this model does not answer yet."""
        return self._is_starting and name not in self._table

    async def started(self, name: str) -> None:
        """Waits until a model answers, or until nothing more is to be loaded at the start."""
        async with self._progress:
            await self._progress.wait_for(lambda: not self.is_starting(name))

    async def follow(self, seconds: float) -> None:
        """Looks for a new `models.config` every so many seconds, for ever."""
        loop = asyncio.get_running_loop()
        failed, again_at = None, 0.0
        while True:
            await asyncio.sleep(seconds)
            try:
                text = await asyncio.to_thread(self._store.config)
                if text is None or text == self._followed:
                    continue
                if text == failed and loop.time() < again_at:
                    continue
                failed, again_at = text, loop.time() + _RETRY_SECONDS
                await self.apply(text)
            except Exception as error:  # whatever it is, the next look may go well
                _LOG.error("%s; what was served before is still served", one_line(error))

    async def apply(self, text: str, on_known: Callable[[], None] = lambda: None) -> None:
        """Serves what the text of a `models.config` says, or changes nothing.

        Args:
            text: of the file.
            on_known: called when it is known what will be loaded, before anything is.

        Raises:
            RequestError: it is wrong, or a version that it needs cannot be loaded.
        """
        try:
            await self._apply(model_config.parse(text), on_known)
        finally:
            self._is_starting = False
            async with self._progress:
                self._progress.notify_all()
        self._followed = text

    async def _apply(
        self, config: model_server_config_pb2.ModelServerConfig, on_known: Callable[[], None]
    ) -> None:
        wanted = await asyncio.to_thread(model_config.wanted, config, self._store)
        loaded = {
            (name, version): servable
            for name, model in self._table.items()
            for version, servable in model.versions.items()
        }
        missing = {
            (name, version): version in want.required
            for name, want in wanted.items()
            for version in want.versions
            if (name, version) not in loaded
        }
        self._states |= {each: State("LOADING") for each in missing}
        on_known()
        try:
            # First what the models cannot answer without.
            for each in sorted(missing, key=lambda each: (not missing[each], each[1])):
                try:
                    loaded[each] = await self._load(*each)
                except RequestError as error:
                    if missing[each]:
                        raise
                    _LOG.error("%s; it is left out", error.message)
                if self._is_starting:
                    self._replace(wanted, loaded)
                    async with self._progress:
                        self._progress.notify_all()
        except RequestError:
            for each in missing:
                if self._states[each].name == "LOADING":
                    del self._states[each]
            raise
        self._replace(wanted, loaded)

    def _replace(
        self, wanted: dict[str, model_config.Wanted], loaded: dict[tuple[str, int], Servable]
    ) -> None:
        """Serves what is loaded, of models that have what they cannot answer without."""
        before = self._table
        self._table = {
            name: _Model(
                {v: loaded[name, v] for v in want.versions if (name, v) in loaded}, want.labels
            )
            for name, want in wanted.items()
            if all((name, version) in loaded for version in want.required)
        }
        self._settle(before, wanted)

    async def _load(self, name: str, version: int) -> Servable:
        try:
            return await asyncio.to_thread(self._load_now, name, version)
        except Exception as error:
            self._metrics.load_failure()
            message = f"release {version} of {name} cannot be loaded: {one_line(error)}"
            self._states[name, version] = State("END", grpc.StatusCode.INTERNAL, message)
            raise RequestError(grpc.StatusCode.INTERNAL, message) from error

    def _load_now(self, name: str, version: int) -> Servable:
        servable = Servable(name, version, self._store.folder(name, version))
        servable.warm_up()
        return servable

    def _settle(self, before: dict[str, _Model], wanted: dict[str, model_config.Wanted]) -> None:
        """Brings the states to agree with the table, and tells who wants to know."""
        served = {name: sorted(model.versions) for name, model in self._table.items()}
        # Only what is wanted, or went last, is remembered: versions never end.
        others = self._states
        self._states = {
            (name, version): State("AVAILABLE")
            if version in served.get(name, ())
            else others[name, version]
            for name, want in wanted.items()
            for version in want.versions
        }
        loop = asyncio.get_running_loop()
        for name, model in before.items():
            for version, servable in model.versions.items():
                if (name, version) not in self._states:
                    state = self._states[name, version] = State("UNLOADING")
                    weakref.finalize(servable.lease, _ended, loop, state)
        self._store.keep(served)
        self._metrics.serving(served)
        self._on_change(served)


def _ended(loop: asyncio.AbstractEventLoop, state: State) -> None:
    """The last request has ended, on whichever thread; the state is the loop's to change."""

    def free() -> None:
        state.name = "END"
        gc.collect()  # a loaded SavedModel is full of circles

    if not loop.is_closed():
        loop.call_soon_threadsafe(free)
