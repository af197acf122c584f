# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A cut MP4 file is told from a whole one by its boxes, in whatever pieces it comes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vidgen.errors import DownloadFailed, NotAVideo
from airflow_provider_vidgen.landing.container import Mp4Check
from airflow_provider_vidgen.simulator.tiny_mp4 import tiny_mp4

REAL = tiny_mp4("a lighthouse", 2, 320, 240)
FTYP = b"\0\0\0\x18ftypisom" + bytes(12)


def box(kind: bytes, body: bytes, *, large: bool = False) -> bytes:
    if large:
        return b"\0\0\0\x01" + kind + (len(body) + 16).to_bytes(8) + body
    return (len(body) + 8).to_bytes(4) + kind + body


WHOLE = {
    "of the simulator": REAL,
    "head alone": FTYP,
    "plain": FTYP + box(b"moov", b"x" * 30) + box(b"mdat", b"y" * 300),
    "large box": FTYP + box(b"mdat", b"y" * 300, large=True) + box(b"moov", b"x" * 30),
    "empty box": FTYP + box(b"free", b"") + box(b"mdat", b"y" * 20),
}
#: Whole, but their end cannot be told.
OPEN = {
    "last box open": FTYP + b"\0\0\0\0mdat" + b"y" * 100,
    "rubbish behind": FTYP + box(b"mdat", b"y") + bytes(40),
}


def check(content: bytes, pieces: int) -> None:
    found = Mp4Check()
    for start in range(0, len(content), pieces):
        found.take(content[start : start + pieces])
    found.end()


@pytest.mark.parametrize("case", [*WHOLE, *OPEN])
@given(pieces=st.integers(1, 500))
def test_a_whole_file_passes_in_any_pieces(case: str, pieces: int) -> None:
    check((WHOLE | OPEN)[case], pieces)


@pytest.mark.parametrize("case", WHOLE)
@given(pieces=st.integers(1, 500), data=st.data())
def test_a_cut_file_never_passes_but_between_two_boxes(case: str, pieces: int, data: st.DataObject) -> None:
    content = WHOLE[case]
    ends, at = {0}, 0
    while at < len(content):
        size = int.from_bytes(content[at : at + 4])
        at += size if size != 1 else int.from_bytes(content[at + 8 : at + 16])
        ends.add(at)
    cut = data.draw(st.integers(1, len(content) - 1).filter(lambda where: where not in ends))
    inside_head = any(end < cut < end + 16 for end in ends)
    try:
        check(content[:cut], pieces)
    except (DownloadFailed, NotAVideo):
        return
    assert inside_head, f"cut at {cut} passed"


@pytest.mark.parametrize("content", [b"", b"\0\0\0\x18fty", b"<!DOCTYPE html>", b'{"error": "x"}', bytes(64)])
@given(pieces=st.integers(1, 20))
def test_what_is_no_mp4_is_refused(content: bytes, pieces: int) -> None:
    with pytest.raises(NotAVideo):
        check(content, pieces)
