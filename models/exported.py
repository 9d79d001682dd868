"""What `models.export.export_release` leaves in the folder of a release, for those who read it."""

from __future__ import annotations

# Folders, each a SavedModel.
SERVED = ("encode", "decode", "sample")
# File with what there is to say of them: shapes, the codebook's hash, how training began.
FACTS = "model.json"
