"""`from pipeline.client import Client`: where programs of others find the client."""

from pipeline.inference.client import Client
from pipeline.inference.errors import ServerError

__all__ = ["Client", "ServerError"]
