"""Audio files of many kinds, as the one kind that the rest of the pipeline knows.

Read `normalised.py` first; `container.py` looks at a file's first bytes, `decoded.py` has PyAV
decode it, `wav.py` writes what comes out.
"""
