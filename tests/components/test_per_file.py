"""How much of a file of records is read at a time."""

import pytest

from components.contents import FileContents
from components.per_file import at_once


@pytest.mark.parametrize(
    ("longest", "records"), [(0, 256), (20_000, 256), (2**25, 2), (2**26 + 1, 1)]
)
def test_a_batch_is_bounded_by_its_bytes(longest, records):
    assert at_once(FileContents(longest=longest), 256) == records
