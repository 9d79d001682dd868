"""What the tests of a page in a browser would see of one that is out of order."""

from __future__ import annotations

import base64
import io

from PIL import Image

from tests.fixtures.browser import opened


def test_a_broken_picture_and_an_error_are_seen(tmp_path):
    file = io.BytesIO()
    Image.new("L", (3, 2)).save(file, "PNG")
    whole = base64.b64encode(file.getvalue()).decode()
    page = tmp_path / "page.html"
    page.write_text(
        f"""<!doctype html><title>A page</title>
        <img src="data:image/png;base64,{whole}"><img src="data:image/png;base64,AAAA">
        <script>nowhere();</script>"""
    )
    shown = opened(page, tmp_path / "browser")
    assert (shown.title, shown.widths) == ("A page", [3, 0])
    (said,) = shown.console
    assert "nowhere is not defined" in said
