"""Whether PNG and JPEG files are whole, found without the memory and most of the time of decoding.

What passes may still be refused by ImageExampleGen, whose decoder has the last word.
"""

from __future__ import annotations

import io

from PIL import Image

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_PNG_END = b"IEND\xaeB`\x82"


def damage(data: bytes) -> str:
    """Why a file that begins as PNG or JPEG cannot be decoded, in ImageExampleGen's words.

    Empty if it can.
    """
    if data.startswith(PNG):
        return "" if _is_whole_png(data) else "truncated or corrupt PNG"
    return "" if _is_whole_jpeg(data) else "truncated or corrupt JPEG"


def _is_whole_png(data: bytes) -> bool:
    if _PNG_END not in data:  # which Pillow can do without
        return False
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.verify()  # the checksum of every chunk
            return True
    except Exception:  # Pillow's decoders raise whatever the damage leads to
        pass
    try:  # the damage may lie behind the image
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            return True
    except Exception:
        return False


def _is_whole_jpeg(data: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(data)) as image:
            # An eighth of the size: everything is read, little of it is transformed.
            image.draft(None, (max(image.width // 8, 1), max(image.height // 8, 1)))
            image.load()
            return True
    except Exception:
        return False
