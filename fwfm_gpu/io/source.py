"""Text files in and out: plain or gzip, whole lines at a time, in bounded memory."""

from __future__ import annotations

import codecs
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np

from fwfm_gpu.errors import InputError, InputTypeError
from fwfm_gpu.parameters import Array

__all__ = ["Block", "Source", "name_of", "read_blocks", "rewound"]

Source = str | os.PathLike[str] | BinaryIO

BLOCK_BYTES = 2**18  # what is worked on at once stays in a core's cache
LONGEST_LINE = 2**24  # bytes; a file without line ends is refused before it fills the memory
GZIP = b"\x1f\x8b"
SHOWN = 60  # characters of the text in a message
COMMENT = re.compile(rb"#[^\n]*")
OUTSIDE = re.compile(rb"[ \t\n]")


@dataclass(frozen=True)
class Block:
    """Some whole lines of a file, every one with its line end."""

    name: str
    text: bytes
    line: int  # number of the first one, from 1
    skipped: Array = field(default_factory=lambda: np.zeros(0, np.int64))  # lines of a comment alone, from 0

    def error(self, position: int, expected: str, remedy: str) -> InputError:
        """What was expected at a byte of the text, what stands there, and where that is in the file."""
        line = self.line + self.text.count(b"\n", 0, position)
        column = position - self.text.rfind(b"\n", 0, position)
        end = OUTSIDE.search(self.text, position)
        found = self.text[position : end.start() if end else None]
        text = repr(found)[2:-1]  # bytes beyond ASCII by their numbers
        shown = text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."
        encoding = encoding_of(self.text) if line == 1 else None
        if encoding:
            remedy = f"The file is in {encoding}: save it as ASCII, or as UTF-8 without a byte order mark."
        return InputError(f"{self.name}, line {line}, column {column}: expected {expected}, got '{shown}'. {remedy}")


def encoding_of(text: bytes) -> str | None:
    """What a file that begins with such bytes is encoded in, if not in what extends ASCII."""
    if text.startswith(codecs.BOM_UTF8):
        return "UTF-8 with a byte order mark"
    if text.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in text[:2]:
        return "UTF-16"
    return None


def read_blocks(source: Source, comments: bool = False) -> Iterator[Block]:
    """The lines of a file, some at a time. Line ends become LF; comments become spaces where there may be any.

    Raises
    ------
    InputTypeError
        Neither a path nor a binary file.
    InputError
        Damaged gzip data, or a line of more than 2**24 bytes.
    OSError
        The system refused.
    """
    line, rest, waiting = 1, [b""], 0
    name = name_of(source)
    with opened(source) as file:
        for piece in inflated(chunks(file, name), name):
            cut = piece.rfind(b"\n") + 1
            if cut:
                block = tidied(Block(name, b"".join([*rest, piece[:cut]]), line), comments)
                yield block
                line += block.text.count(b"\n")
                rest, waiting = [], 0
            rest.append(piece[cut:])
            waiting += len(piece) - cut
            if waiting > LONGEST_LINE:
                raise InputError(
                    f"{name}, line {line}: expected lines of at most {LONGEST_LINE} bytes, got a longer one. "
                    "Is it a text file? If so, break that row up."
                )
    last = b"".join(rest)
    if last:
        yield tidied(Block(name, last + b"\n", line), comments)


def name_of(source: Source) -> str:
    """What messages call the file."""
    if isinstance(source, (str, os.PathLike)):
        return os.fsdecode(source)
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else "<stream>"


@contextmanager
def opened(source: Source) -> Iterator[BinaryIO]:
    """The file behind a path, closed in the end; a file that the caller opened stays open."""
    if isinstance(source, (str, os.PathLike)):
        with open(source, "rb") as file:
            yield file
    elif hasattr(source, "read"):
        yield source
    else:
        raise InputTypeError(f"expected a path or a file opened in binary mode, got {type(source).__name__}.")


@contextmanager
def rewound(source: Source) -> Iterator[None]:
    """What is read in between can be read again afterwards."""
    if isinstance(source, (str, os.PathLike)):
        yield
        return
    if not source.seekable():
        raise InputError(
            f"{name_of(source)}: expected a file that can be read twice, got a stream. Pass its path, or the columns."
        )
    start = source.tell()
    yield
    source.seek(start)


def chunks(file: BinaryIO, name: str) -> Iterator[bytes]:
    """What the file gives, piece by piece."""
    while piece := file.read(BLOCK_BYTES):
        if not isinstance(piece, bytes):
            kind = type(piece).__name__
            raise InputTypeError(f"{name}: expected a file that gives bytes, got {kind}. Open it in mode 'rb'.")
        yield piece


def inflated(pieces: Iterator[bytes], name: str) -> Iterator[bytes]:
    """The same, unpacked when the first two bytes are those of gzip."""
    head = b""
    for piece in pieces:
        head += piece
        if len(head) >= len(GZIP):
            break
    if not head.startswith(GZIP):
        if head:
            yield head
        yield from pieces
        return
    try:
        yield from members(head, pieces)
    except (EOFError, zlib.error) as error:
        raise InputError(f"{name}: expected intact gzip data, got: {error}. Fetch the file again.") from error


def members(piece: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The content of gzip members one after another; zeros may follow them."""
    member: Any = None
    while piece or (piece := next(pieces, b"")):
        if member is None:
            piece = piece.lstrip(b"\0")
            if not piece:
                continue
            member = zlib.decompressobj(16 + zlib.MAX_WBITS)
        content = member.decompress(piece, BLOCK_BYTES)
        piece = member.unused_data if member.eof else member.unconsumed_tail
        if member.eof:
            member = None
        if content:
            yield content
    # what a full output held back comes without further input
    while member is not None and (content := member.decompress(b"", BLOCK_BYTES)):
        yield content
    if member is not None and not member.eof:
        raise EOFError("it ends before its end mark")


def tidied(block: Block, comments: bool) -> Block:
    """CR LF as LF and comments as spaces, so that every byte stays in its column."""
    text = block.text
    if b"\r" in text:
        text = text.replace(b"\r\n", b" \n")
    if not comments or b"#" not in text:
        return Block(block.name, text, block.line)
    alone = [line.lstrip(b" \t").startswith(b"#") for line in text.split(b"\n")]
    text = COMMENT.sub(lambda match: b" " * len(match[0]), text)
    return Block(block.name, text, block.line, np.flatnonzero(alone))
