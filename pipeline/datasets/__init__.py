"""Makers of data sets, of images and of speech; `write_dataset` in `writer` writes what they give.

Read `writer.py` first; `makers.py` finds the maker, `source.py` is what a maker gives, and
`staging.py` is what makes a data set appear whole or not at all.
"""
