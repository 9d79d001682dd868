"""Folders of an object store, and what each kind of store has for careful writes."""
