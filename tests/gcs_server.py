"""Google Cloud Storage on this machine, for tests: one bucket, with its conditions on writes.

Its rules are those of the JSON API: every write gives an object a new generation, and
`ifGenerationMatch` refuses one (412) unless it names the object's generation, or 0 for none.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import itertools
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

BUCKET = "bucket"


class _Handler(BaseHTTPRequestHandler):
    objects: dict[str, tuple[str, bytes]]
    generations: Iterator[int]
    lock: threading.Lock

    def do_POST(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if query["uploadType"] == ["multipart"]:
            boundary = self.headers["Content-Type"].split('boundary="')[1].rstrip('"').encode()
            _, facts, data, _ = body.split(b"--" + boundary)
            name = json.loads(facts.split(b"\n\n", 1)[1])["name"]
            body = data.split(b"\n\n", 1)[1].removesuffix(b"\n")
        else:
            name = query["name"][0]
        with self.lock:
            generation = self.objects.get(name, ("0", b""))[0]
            if query.get("ifGenerationMatch", [generation]) != [generation]:
                self._answer(412, {"error": {"message": "conditionNotMet"}})
                return
            self.objects[name] = (str(next(self.generations)), body)
        self._answer(200, self._facts(name))

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        place, _, name = parts.path.partition(f"/b/{BUCKET}/o")
        name = unquote(name.removeprefix("/"))
        if not name:
            prefix = query.get("prefix", [""])[0]
            found = [each for each in sorted(self.objects) if each.startswith(prefix)]
            self._answer(200, {"items": [self._facts(each) for each in found]})
        elif name not in self.objects:
            self._answer(404, {"error": {"message": "notFound"}})
        elif place.startswith("/download"):
            self._answer(200, self.objects[name][1])
        else:
            self._answer(200, self._facts(name))

    def do_DELETE(self) -> None:
        name = unquote(urlsplit(self.path).path.partition(f"/b/{BUCKET}/o/")[2])
        self._answer(404 if self.objects.pop(name, None) is None else 204, b"")

    def log_message(self, *_: object) -> None:
        pass

    def _facts(self, name: str) -> dict[str, object]:
        generation, data = self.objects[name]
        md5 = base64.b64encode(hashlib.md5(data).digest()).decode()
        facts = {"name": name, "bucket": BUCKET, "generation": generation, "md5Hash": md5}
        return facts | {"size": str(len(data)), "updated": "2026-01-01T00:00:00.000Z"}

    def _answer(self, status: int, body: bytes | dict[str, object]) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextlib.contextmanager
def gcs_server() -> Iterator[None]:
    """Serves it on a free port; the environment names it while it runs."""
    handler = type(
        "Handler",
        (_Handler,),
        {"objects": {}, "generations": itertools.count(1000), "lock": threading.Lock()},
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    before = dict(os.environ)
    os.environ["STORAGE_EMULATOR_HOST"] = f"http://127.0.0.1:{server.server_address[1]}"
    os.environ.update(NO_PROXY="127.0.0.1", NO_GCE_CHECK="true")
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        server.shutdown()
        thread.join()
        server.server_close()
