"""Bytes of a file as text: unpacked by what they are, decoded by what they say they are."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path

from harness.contracts import HarnessError
from harness.util import safe_text
from harness.util.safe_text import VALUE, shorten

LFS = b"version https://git-lfs"
"""How the small text begins that stands for a large file in a repository whose files were not fetched."""
ZIP = b"PK\x03\x04"


def _zstd(data: bytes) -> bytes:
    import pyarrow

    return bytes(pyarrow.CompressedInputStream(pyarrow.BufferReader(data), "zstd").read())


PACKED: dict[str, tuple[bytes, str, Callable[[bytes], bytes]]] = {
    ".gz": (b"\x1f\x8b", "gzip", gzip.decompress),
    ".zst": (b"\x28\xb5\x2f\xfd", "zstd", _zstd),
    ".bz2": (b"BZh", "bzip2", bz2.decompress),
    ".xz": (b"\xfd7zXZ\x00", "xz", lzma.decompress),
}
"""Ending, first bytes, name and reader of each kind of packed file."""
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order marks; the longer ones stand before those that they begin with."""


def cut(value: object) -> str:
    """A user's value as a message shows it: a text without quotes, on one line, at most 80 characters."""
    return shorten(value, VALUE) if isinstance(value, str) else safe_text.cut(value)


def read_text(path: Path) -> str:
    """A file's text, whatever it is packed in and encoded as. Raises HarnessError for what is not whole, or no text."""
    return decode(_unpacked(path, read_bytes(path)), path)


def read_bytes(path: Path) -> bytes:
    """A file's bytes. Raises HarnessError where it cannot be read, is empty, or only stands for another file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise HarnessError(f"{path} cannot be read: {error.strerror or error}") from error
    if not data:
        raise HarnessError(f"{path} is empty and holds no rows; at least one was expected")
    if data.startswith(ZIP):
        raise HarnessError(f"{path} is a zip archive or an Excel workbook; unpack it, or save it as CSV")
    if data.startswith(LFS):
        raise HarnessError(f"{path} is a pointer of Git LFS, not the data; fetch the file itself with 'git lfs pull'")
    return data


def decode(data: bytes, path: Path) -> str:
    """Bytes as text: by their byte order mark, as UTF-8, else as the encoding they look like.

    Bytes that spoil a text which otherwise is UTF-8 become lone surrogates, so that only their own rows are lost.
    Raises HarnessError for what is no text.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _strict(data, encoding, path)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("utf-8", "surrogateescape")
        spoilt = sum("\udc80" <= character <= "\udcff" for character in text)
        if spoilt > sum(character >= "\x80" for character in text) / 2:
            return _strict(data, _guessed(data, path), path)
    return _strict(data, _guessed(data, path), path) if "\x00" in text[:4096] else text


def _strict(data: bytes, encoding: str, path: Path) -> str:
    try:
        return data.decode(encoding).lstrip("\ufeff")
    except (UnicodeDecodeError, LookupError) as error:
        raise HarnessError(f"{path} cannot be read as {encoding} text: {cut(str(error))}; save it as UTF-8") from error


def _guessed(data: bytes, path: Path) -> str:
    import chardet

    found = chardet.detect(data[:1_000_000])["encoding"]
    if not found:
        raise HarnessError(f"{path} is no text in a known encoding; save it as UTF-8")
    return str(found)


def _unpacked(path: Path, data: bytes) -> bytes:
    """Unpacked where the bytes are packed, whatever the ending says; a packed ending on other bytes is an error."""
    for ending, (magic, name, unpack) in PACKED.items():
        if data.startswith(magic) or path.name.lower().endswith(ending):
            try:
                return unpack(data)
            except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
                reason = cut(str(error)) or type(error).__name__
                raise HarnessError(f"{path} is not a whole {name} file ({reason}); fetch it again") from error
    return data
