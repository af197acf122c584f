# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Parsers that ask for bytes, run on bytes that arrive in pieces of any size, or on a file."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Skip:
    """
    Asks for bytes to be passed over.

    :param size: how many; ``None`` for all the rest.
    """

    size: int | None


#: Yields how many bytes it wants next, or what is to be passed over, and is sent them. Returns when the rest
#: does not concern it.
Parser = Generator[int | Skip, bytearray, None]


class Feed:
    """Runs a parser on the bytes of a file, keeping no more of them than it has asked for at once."""

    def __init__(self, parser: Parser) -> None:
        self._parser = parser
        self._kept = bytearray()
        self._keep = False
        #: Bytes that are still to come until the parser goes on; 0 once it has returned.
        self._missing = 0
        self._ask(next(parser))

    def take(self, piece: bytes) -> None:
        """
        Take the next bytes.

        :raises Exception: what the parser raises.
        """
        rest = memoryview(piece)
        while rest and self._missing:
            taken, rest = rest[: self._missing], rest[self._missing :]
            self._missing -= len(taken)
            if self._keep:
                self._kept += taken
            if not self._missing:
                self._go_on()

    def _go_on(self) -> None:
        while not self._missing:
            kept, self._kept = self._kept, bytearray()
            try:
                self._ask(self._parser.send(kept))
            except StopIteration:
                return

    def _ask(self, wanted: int | Skip) -> None:
        self._keep = not isinstance(wanted, Skip)
        if not isinstance(wanted, Skip):
            self._missing = wanted
        else:
            self._missing = sys.maxsize if wanted.size is None else wanted.size


def steps(parser: Parser, file: Any) -> Iterator[None]:
    """
    Run a parser on a file, passing over what it does not want to see.

    Ends after each of its steps, so that it can be left, and with the file.

    :param file: can be read and sought.
    """
    wanted = next(parser)
    while not (isinstance(wanted, Skip) and wanted.size is None):
        seen = bytearray()
        if isinstance(wanted, Skip):
            file.seek(wanted.size, 1)
        else:
            seen += file.read(wanted)
            if len(seen) < wanted:
                return
        try:
            wanted = parser.send(seen)
        except StopIteration:
            return
        yield
