"""The artifact that DataGate leaves for what depends on sound data."""

from tfx.types import artifact


class DataBlessing(artifact.Artifact):
    """Stands for data that passed the gate; holds `data.json`, what the gate saw."""

    TYPE_NAME = "DataBlessing"
