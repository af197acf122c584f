# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Generator-based parsers that request bytes, run on chunks of any size or on a seekable file."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Skip:
    """
    A parser's request to skip bytes.

    :param size: how many; ``None`` for the rest of the file.
    """

    size: int | None


#: Yields the number of bytes it needs next, or a :class:`Skip`, and is sent those bytes. Returns when it does
#: not need the rest of the file.
Parser = Generator[int | Skip, bytearray, None]


class ChunkedInput:
    """Runs a parser on chunks, buffering no more bytes than the parser requested at once."""

    def __init__(self, parser: Parser) -> None:
        self._parser = parser
        self._buffer = bytearray()
        self._buffering = False
        #: Bytes still to come until the parser continues; 0 once it has returned.
        self._missing = 0
        self._set_request(next(parser))

    def feed(self, chunk: bytes) -> None:
        """
        Parse the next bytes.

        :raises Exception: the parser raised it.
        """
        rest = memoryview(chunk)
        while rest and self._missing:
            taken, rest = rest[: self._missing], rest[self._missing :]
            self._missing -= len(taken)
            if self._buffering:
                self._buffer += taken
            if not self._missing:
                self._resume_parser()

    def _resume_parser(self) -> None:
        while not self._missing:
            data, self._buffer = self._buffer, bytearray()
            try:
                self._set_request(self._parser.send(data))
            except StopIteration:
                return

    def _set_request(self, request: int | Skip) -> None:
        self._buffering = not isinstance(request, Skip)
        if not isinstance(request, Skip):
            self._missing = request
        else:
            self._missing = sys.maxsize if request.size is None else request.size


def run_on_file(parser: Parser, file: Any) -> Iterator[None]:
    """
    Run a parser on a file, seeking over what it skips.

    Yields after each step, so that the caller can stop early; ends with the file.

    :param file: readable and seekable.
    """
    request = next(parser)
    while not (isinstance(request, Skip) and request.size is None):
        data = bytearray()
        if isinstance(request, Skip):
            file.seek(request.size, 1)
        else:
            data += file.read(request)
            if len(data) < request:
                return
        try:
            request = parser.send(data)
        except StopIteration:
            return
        yield
