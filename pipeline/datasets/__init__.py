"""Makers of image data sets: `write_dataset` in `writer`, the command line in `command`.

Read `writer.py` first; `staging.py` is what makes a data set appear whole or not at all.
"""
