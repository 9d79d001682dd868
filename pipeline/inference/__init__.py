"""Released models on files and arrays, from disk or behind a server."""
