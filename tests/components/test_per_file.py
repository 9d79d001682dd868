"""How much of a file of records is read at a time."""

import pytest

from components.contents import FileContents
from components.per_file import at_once


@pytest.mark.parametrize(
    ("longest", "decoded", "records"),
    [(0, 0, 256), (20_000, 0, 256), (2**22, 0, 2), (2**23 + 1, 0, 1), (20_000, 196_608, 42)],
)
def test_a_batch_is_bounded_by_its_bytes(longest, decoded, records):
    assert at_once(FileContents(longest=longest), 256, decoded) == records
