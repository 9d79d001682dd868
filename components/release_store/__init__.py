"""The release store: `store` is its entrance; what a release is, and where releases lie."""
