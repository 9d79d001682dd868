"""Writers of a store in an object store that end early, and what must hold of it after that."""

from __future__ import annotations

import json

from components import releases
from components.object_store import Folder
from components.release import MODELS

LONG_AGO = "2001-01-01T00:00:00+00:00"


class Killed(BaseException):
    """The process ends here."""


def stop_at(monkeypatch, count=0, path=""):
    """The writer is killed before its `count`th write, or before that of what `path` begins.

    Returns:
        how to let writers live again.
    """
    done, killed = 0, False

    def counted(method):
        def call(self, what, *args, **kwargs):
            nonlocal done, killed
            done += 1
            first = what if isinstance(what, str) else next(iter(what), "")
            killed = killed or done == count or bool(path and first.startswith(path))
            if killed:
                raise Killed
            return method(self, what, *args, **kwargs)

        return call

    patch = monkeypatch.context()
    context = patch.__enter__()
    for name in ("write", "replace", "put", "delete"):
        context.setattr(Folder, name, counted(getattr(Folder, name)))
    return lambda: patch.__exit__(None, None, None)


def check_whole(uri, expected=None):
    """What the pointers name is there, whole and unchanged; returns the stable version."""
    with releases.opened(uri, releases.LATEST, []) as release:
        version = release.version if release else None
    served = releases.served(uri)
    assert (served and served.stable) == version
    for each in served.versions if served else ():
        with releases.opened(uri, each, MODELS):
            pass
    if expected is not None:
        assert version == expected
    return version


def state(uri):
    """stable, canary, all that is loaded; and the pointer for readers agrees."""
    served = releases.served(uri)
    check_whole(uri, served.stable)
    assert json.loads(Folder(uri).read("releases/latest.json"))["version"] == served.stable
    return served.stable, served.canary, served.versions


def old_claim(uri, version, renewed=None):
    """Makes a push look as if it had begun long ago, and was last at work then or at `renewed`."""
    claim = json.loads(Folder(uri).read(f".store/claims/{version}.json"))
    claim |= {"claimed": LONG_AGO, "renewed": renewed or LONG_AGO}
    Folder(uri).write(f".store/claims/{version}.json", json.dumps(claim).encode())
