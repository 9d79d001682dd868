"""An S3 server on this machine, for tests."""

from __future__ import annotations

import contextlib
import os
import urllib.request
from collections.abc import Iterator

from components.object_store import Folder

# Recognisable, so that tests can look for them where they must not be.
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "AKIDFORTESTSONLY",
    "AWS_SECRET_ACCESS_KEY": "s3cr3t-for-tests-only",
}


@contextlib.contextmanager
def s3_server(*buckets: str) -> Iterator[str]:
    """Serves S3 on a free port, with these buckets; the environment names it while it runs.

    Yields:
        the address.
    """
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    before = dict(os.environ)
    os.environ.update(
        CREDENTIALS, AWS_ENDPOINT_URL=address, AWS_DEFAULT_REGION="us-east-1", NO_PROXY="127.0.0.1"
    )
    try:
        # All of moto's servers in one process share what they hold.
        urllib.request.urlopen(f"{address}/moto-api/reset", b"").close()
        files = s3fs.S3FileSystem(skip_instance_cache=True)
        for bucket in buckets:
            files.mkdir(bucket)
        yield address
    finally:
        os.environ.clear()
        os.environ.update(before)
        server.stop()


def upload(source, uri: str) -> None:
    """Copies a folder into an object store."""
    Folder(uri).upload(source)
