# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A truncated video is detected by its container, in chunks of any size."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_provider_vidgen.errors import DownloadFailed, NotAVideo
from airflow_provider_vidgen.landing.containers import ContainerFormat
from airflow_provider_vidgen.landing.containers.validator import ContainerValidator
from airflow_provider_vidgen.simulator.placeholder_media import mp4_head, placeholder_mp4
from dev.sample_videos import FORMATS, boundaries, sample_video

TINY = placeholder_mp4("a lighthouse", 2, 320, 240)
NAMES = [*FORMATS, "live"]
#: The first example renders the video.
unhurried = settings(deadline=None)
Verdict = ContainerFormat | tuple[type[Exception], str]


def check(content: bytes, *, pieces: int = 10**9, announced: bool = False) -> Verdict:
    found = ContainerValidator()
    try:
        for start in range(0, len(content), pieces):
            found.feed(content[start : start + pieces])
        found.finish(length_announced=announced)
    except (DownloadFailed, NotAVideo) as error:
        return type(error), error.summary
    assert found.format is not None
    return found.format


def refused(content: bytes, *, announced: bool = False, match: str = "") -> bool:
    verdict = check(content, announced=announced)
    return isinstance(verdict, tuple) and match in verdict[1]


def box(kind: bytes, *parts: bytes, large: bool = False) -> bytes:
    body = b"".join(parts)
    if large:
        return b"\0\0\0\x01" + kind + (len(body) + 16).to_bytes(8) + body
    return (len(body) + 8).to_bytes(4) + kind + body


def full(kind: bytes, *words: int, version: int = 0, flags: int = 0, more: bytes = b"") -> bytes:
    return box(kind, bytes([version]), flags.to_bytes(3), struct.pack(f">{len(words)}I", *words), more)


FTYP = box(b"ftyp", b"isom", bytes(4))


def track(*tables: bytes, handler: bytes = b"vide", number: int = 1) -> bytes:
    return box(
        b"trak",
        full(b"tkhd", 0, 0, number, more=bytes(60)),
        box(
            b"mdia",
            full(b"mdhd", 0, 0, 1000, 0),
            full(b"hdlr", 0, more=handler + bytes(12)),
            box(b"minf", box(b"stbl", *tables)),
        ),
    )


def plain(*tables: bytes, media: int = 1000) -> bytes:
    """A video with the given tables, whose media data come first."""
    return FTYP + box(b"mdat", bytes(media)) + box(b"moov", full(b"mvhd", 0, 0, 1000, 0), track(*tables))


#: Two chunks, the second of which ends 900 bytes behind its offset.
ONE_RUN = full(b"stsc", 1, 1, 2, 1)
SIZES = full(b"stsz", 0, 3, 100, 100, 500)


@pytest.mark.parametrize("name", FORMATS)
@unhurried
@given(pieces=st.integers(1, 6000), announced=st.booleans())
def test_a_complete_video_is_valid_in_chunks_of_any_size(name: str, pieces: int, announced: bool) -> None:
    assert check(sample_video(name), pieces=pieces, announced=announced) is next(
        kind for kind in ContainerFormat if kind.ext == name.partition(",")[0]
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_truncated_video_without_announced_length_is_never_valid(name: str) -> None:
    whole = sample_video(name)
    for cut in random.Random(name).sample(range(len(whole)), 200):
        assert refused(whole[:cut]), f"cut at {cut} of {len(whole)}"


@pytest.mark.parametrize("name", [name for name in FORMATS if "fragmented" not in name])
@unhurried
@given(data=st.data())
def test_a_truncated_video_with_announced_length_is_invalid_if_its_container_states_the_end(
    name: str, data: st.DataObject
) -> None:
    whole = sample_video(name)
    cut = data.draw(st.integers(0, len(whole) - 1) | st.sampled_from(boundaries(whole)))
    assert refused(whole[:cut], announced=True)


@pytest.mark.parametrize("name", NAMES)
@unhurried
@given(data=st.data(), pieces=st.integers(1, 999), announced=st.booleans())
def test_the_chunk_size_does_not_matter(name: str, data: st.DataObject, pieces: int, announced: bool) -> None:
    content = bytearray(sample_video(name))
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(content[: data.draw(st.integers(0, len(content)))])
    assert check(cut, pieces=pieces, announced=announced) == check(cut, announced=announced)


HEADS = [
    b"",
    FTYP,
    FTYP + b"\0\0\0\x80moov",
    FTYP + b"\0\0\0\x80moof",
    b"\x1aE\xdf\xa3",
    sample_video("webm")[:300],
]


@unhurried
@given(head=st.sampled_from(HEADS), rest=st.binary(max_size=300), pieces=st.integers(1, 50))
@example(
    head=HEADS[-2], rest=b"\xa3B\x82\x88matroska\x18S\x80g\xff\x15I\xa9f\x89D\x89\x84\x7f\x80\0\0", pieces=9
)
def test_any_bytes_are_valid_or_refused_by_a_known_error(head: bytes, rest: bytes, pieces: int) -> None:
    check(head + rest, pieces=pieces)
    check(head + rest, pieces=pieces, announced=True)


@unhurried
@given(content=st.binary(max_size=200), where=st.integers(0, 4000))
def test_any_damage_is_accepted_or_refused_by_a_known_error(content: bytes, where: int) -> None:
    for name in NAMES:
        whole = sample_video(name)
        check(whole[:where] + content + whole[where + len(content) :], announced=True)


@pytest.mark.parametrize("content", [b"", b"\0\0\0\x18fty", b"<!DOCTYPE html>", b'{"error": "x"}', bytes(64)])
def test_a_file_that_is_no_video_is_refused(content: bytes) -> None:
    for pieces in (1, 5, 99):
        assert check(content, pieces=pieces, announced=True)[0] is NotAVideo  # type: ignore[index]


def test_only_the_tables_are_buffered() -> None:
    import tracemalloc

    found, piece, pieces = ContainerValidator(), bytes(1024**2), 300
    found.feed(mp4_head(len(piece) * pieces, 6, 640, 360))
    tracemalloc.start()
    for _ in range(pieces):
        found.feed(piece)
    found.finish(length_announced=False)
    assert tracemalloc.get_traced_memory()[1] < 1024**2
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("end", "tables"),
    [
        (724, (full(b"stco", 2, 24, 224), ONE_RUN, SIZES)),
        (724, (full(b"co64", 2, 0, 24, 0, 224), ONE_RUN, SIZES)),
        (624, (full(b"stco", 2, 24, 424), ONE_RUN, full(b"stsz", 200, 3))),
        (824, (full(b"stco", 2, 24, 224), full(b"stsc", 2, 1, 1, 1, 2, 2, 1), SIZES)),
    ],
)
def test_a_plain_mp4_must_have_all_data_that_its_tables_reference(
    end: int, tables: tuple[bytes, ...]
) -> None:
    assert check(plain(*tables)) is ContainerFormat.MP4
    short = end - len(plain(*tables, media=0)) - 1
    assert refused(plain(*tables, media=short), announced=True, match=f"its frames need {end} or more")
    assert check(plain(*tables, media=short + 1)) is ContainerFormat.MP4


@pytest.mark.parametrize(
    "tables",
    [
        (),
        (full(b"stsz", 0, 3, 100, 100, 500),),
        (full(b"stco", 2, 24, 224), SIZES),
        (full(b"stco", 2, 24, 224), ONE_RUN, full(b"stsz", 0, 3, 100)),
        (full(b"stco", 2, 24, 224), ONE_RUN, full(b"stz2", 16, 3)),
        (full(b"stco", 1, 24), ONE_RUN, SIZES),
        (full(b"stco", 2, 24, 224), full(b"stsc", 1, 1, 0, 1), SIZES),
    ],
)
def test_an_mp4_with_incomplete_tables_needs_an_announced_length(tables: tuple[bytes, ...]) -> None:
    assert refused(plain(*tables))
    assert refused(plain(*tables), announced=True) == (not tables)


def test_an_mp4_without_samples_has_no_frames() -> None:
    assert refused(plain(full(b"stsz", 0, 0)), announced=True, match="no frames")


@pytest.mark.parametrize("behind", [b"x", bytes(40), b"\0\0\0\x99oddy", b"<!-- 1 -->"])
def test_bytes_behind_the_last_box_are_ignored(behind: bytes) -> None:
    assert check(TINY + behind) is ContainerFormat.MP4


def test_the_last_box_may_be_of_unknown_or_64_bit_size() -> None:
    head = mp4_head(4096, 2, 320, 240)
    assert head[-16:-8] == b"\0\0\0\x01mdat"
    opened = head[:-16] + b"\0\0\0\0mdat" + bytes(8 + 4096)
    assert check(opened) is ContainerFormat.MP4
    assert refused(opened[:-1], announced=True, match="its frames need")
    # A table of unknown size is not parsed.
    assert refused(FTYP + b"\0\0\0\0moov" + bytes(99), match="Neither")
    assert check(TINY + box(b"free", bytes(9), large=True)) is ContainerFormat.MP4
    assert refused(
        (TINY + box(b"free", bytes(9), large=True))[:-1], announced=True, match="inside its free box"
    )


@pytest.mark.parametrize("size", [0, 8, 9, 2**31])
def test_an_ftyp_box_of_any_size_alone_is_no_video(size: int) -> None:
    assert refused(size.to_bytes(4) + b"ftyp" + bytes(5000), announced=True)


def test_very_large_tables_are_skipped() -> None:
    moov = box(b"moov", track(full(b"stsz", 0, 2**21, more=bytes(4 * 2**21))))
    assert check(FTYP + box(b"mdat") + moov, announced=True) is ContainerFormat.MP4
    assert refused(FTYP + box(b"mdat") + moov, match="Neither")


# --- fragments --------------------------------------------------------------------------------------------


def fragment(
    samples: int, *, at: int = 0, tfhd: int = 0x20000, trun: int = 0x201, size: int = 100, version: int = 0
) -> bytes:
    """Return a fragment with its data: samples of 40 ms."""
    defaults = b"".join(
        value
        for flag, value in ((0x8, struct.pack(">I", 40)), (0x10, struct.pack(">I", size)))
        if tfhd & flag
    )

    def moof(offset: int) -> bytes:
        rows = b"".join(
            struct.pack(">I", value)
            for _ in range(samples)
            for flag, value in ((0x100, 40), (0x200, size))
            if trun & flag
        )
        place = struct.pack(">I", offset) if trun & 0x1 else b""
        when = struct.pack(">Q" if version else ">I", at)
        return box(
            b"moof",
            box(
                b"traf",
                full(b"tfhd", 1, flags=tfhd, more=defaults),
                full(b"tfdt", version=version, more=when),
                full(b"trun", samples, flags=trun, more=place + rows),
            ),
        )

    return moof(len(moof(0)) + 8) + box(b"mdat", bytes(samples * size))


def fragmented(
    *fragments: bytes, mehd: int | None = None, mvhd: int = 0, version: int = 0, default: int = 40
) -> bytes:
    more = b"" if mehd is None else full(b"mehd", version=version, more=mehd.to_bytes(8 if version else 4))
    extends = box(b"mvex", more, full(b"trex", 1, 1, default, 100, 0))
    moov = box(b"moov", full(b"mvhd", 0, 0, 1000, mvhd), track(full(b"stsz", 0, 0)), extends)
    return FTYP + moov + b"".join(fragments)


TWO = (fragment(10), fragment(10, at=400))


@pytest.mark.parametrize("version", [0, 1])
def test_a_duration_in_the_header_shows_whether_fragments_are_missing(version: int) -> None:
    assert check(fragmented(*TWO, mehd=800, version=version)) is ContainerFormat.MP4
    assert check(fragmented(*TWO, mvhd=800)) is ContainerFormat.MP4
    long = [fragment(10, at=400 * number, version=version) for number in range(4)]
    for known in ({"mehd": 1600}, {"mvhd": 1600}):
        assert check(fragmented(*long, **known)) is ContainerFormat.MP4
        assert refused(fragmented(*long[:2], **known), announced=True, match="frames for 0.8 of 1.6 s")
        # One fragment less may be within the writer's rounding.
        assert refused(fragmented(*long[:3], **known), match="Neither")
        assert check(fragmented(*long[:3], **known), announced=True) is ContainerFormat.MP4


@pytest.mark.parametrize(
    "fields",
    [
        {"trun": 0x301},
        {"trun": 0x1, "tfhd": 0x20000},
        {"trun": 0x1, "tfhd": 0x20018},
        {"trun": 0x201, "tfhd": 0},
        {"trun": 0x101, "tfhd": 0x20010},
    ],
)
def test_a_fragment_must_have_all_its_data(fields: dict[str, int]) -> None:
    whole = fragmented(fragment(10, **fields), mehd=400)
    assert check(whole) is ContainerFormat.MP4
    without_data = whole[: -8 - 1000]
    assert refused(without_data, announced=True, match="its frames need")
    assert refused(whole[:-1], announced=True, match="inside its mdat box")


def test_a_fragmented_mp4_without_index_needs_an_announced_length() -> None:
    assert refused(fragmented(*TWO), match="Neither")
    assert check(fragmented(*TWO), announced=True) is ContainerFormat.MP4
    assert check(fragmented(*TWO) + box(b"mfra", bytes(30))) is ContainerFormat.MP4
    assert refused((fragmented(*TWO) + box(b"mfra", bytes(30)))[:-1], announced=True)
    assert refused(fragmented() + box(b"mfra", bytes(30)), announced=True, match="no frames")


def sidx(*sizes: int, version: int = 0, first: int = 0) -> bytes:
    entries = b"".join(struct.pack(">3I", size, 0, 0) for size in sizes)
    times = struct.pack(">QQ" if version else ">II", 0, first)
    return full(b"sidx", 1, 1000, version=version, more=times + struct.pack(">HH", 0, len(sizes)) + entries)


@pytest.mark.parametrize("version", [0, 1])
def test_an_index_before_the_fragments_shows_where_the_file_ends(version: int) -> None:
    head, sizes = fragmented(), [len(each) for each in TWO]
    assert check(head + sidx(*sizes, version=version) + b"".join(TWO)) is ContainerFormat.MP4
    assert refused(head + sidx(*sizes, version=version) + TWO[0], announced=True, match="its frames need")
    assert refused(head + sidx(*sizes, first=9, version=version) + b"".join(TWO), announced=True)
    # An index before each fragment does not cover the next one.
    assert refused(head + sidx(sizes[0]) + TWO[0], match="Neither")
    assert refused(head + TWO[0] + sidx(1, 1) + TWO[1], match="Neither")


def test_fragments_of_unknown_duration_do_not_count_as_too_short() -> None:
    timeless = fragmented(fragment(10), mehd=9000, default=0)
    assert check(timeless, announced=True) is ContainerFormat.MP4
    assert refused(timeless, match="Neither")


def test_malicious_tables_take_little_memory() -> None:
    import tracemalloc

    names = b"".join(box(struct.pack(">I", 0x20202020 + number)) for number in range(100_000))
    tracks = b"".join(box(b"trak", full(b"tkhd", 0, 0, number)) for number in range(50_000))
    content = FTYP + box(b"moov", track(names), tracks) + box(b"mdat")
    tracemalloc.start()
    assert refused(content)
    assert tracemalloc.get_traced_memory()[1] < 3 * len(content)
    tracemalloc.stop()


def test_a_fragment_of_an_unknown_track_is_tolerated() -> None:
    moof = box(b"moof", box(b"traf", full(b"tfhd", 9), full(b"trun", 1, flags=0x1)))
    assert refused(fragmented(moof), match="Neither")
    assert refused(FTYP + moof, announced=True, match="no moov")


# --- Matroska ---------------------------------------------------------------------------------------------


def element(key: str, content: bytes, *, known: bool = True) -> bytes:
    return bytes.fromhex(key) + ((len(content) | 1 << 28).to_bytes(4) if known else b"\xff") + content


EBML = element("1a45dfa3", element("4282", b"webm"))
TRACKS = element("1654ae6b", element("ae", element("83", b"\x01")))
SECOND = element("1549a966", element("4489", struct.pack(">f", 2000)))


def cluster(*times: int, at: int = 0, known: bool = True) -> bytes:
    blocks = [element("a3", b"\x81" + time.to_bytes(2) + bytes(50)) for time in times]
    return element("1f43b675", element("e7", at.to_bytes(8)) + b"".join(blocks), known=known)


def segment(*parts: bytes, known: bool = False) -> bytes:
    return EBML + element("18538067", b"".join(parts), known=known)


CUES = element("1c53bb6b", bytes(20))
TIMES = [*range(0, 1000, 40)]


@pytest.mark.parametrize("known", [True, False])
def test_an_index_behind_a_live_stream_shows_that_it_is_complete(known: bool) -> None:
    live = segment(SECOND, TRACKS, cluster(*TIMES, known=known), cluster(*TIMES, at=1000, known=known))
    assert check(live + CUES) is ContainerFormat.WEBM
    assert refused(live, match="Neither")
    assert check(live, announced=True) is ContainerFormat.WEBM
    assert refused(segment(CUES, SECOND, TRACKS, cluster(*TIMES, *range(1000, 2000, 40))), match="Neither")
    assert refused((live + CUES)[:-1], announced=True, match="inside an element")


def test_a_live_stream_shorter_than_its_duration_is_truncated() -> None:
    assert refused(segment(SECOND, TRACKS, cluster(*TIMES)), announced=True, match="after 1.0 of 2.0 s")
    # Frames far apart: the last one may last until the end.
    assert check(segment(SECOND, TRACKS, cluster(0, 900)), announced=True) is ContainerFormat.WEBM


def test_blocks_in_groups_count_as_frames() -> None:
    grouped = [
        element("a0", element("a1", b"\x81" + time.to_bytes(2) + bytes(9))) for time in (0, 1000, 1900)
    ]
    part = element("1f43b675", b"".join(grouped))
    assert check(segment(SECOND, TRACKS, part), announced=True) is ContainerFormat.WEBM


def test_a_segment_of_known_size_ends_at_that_size() -> None:
    whole = segment(TRACKS, cluster(0, 40), known=True)
    assert check(whole) is ContainerFormat.WEBM
    assert check(whole + b"more", announced=False) is ContainerFormat.WEBM
    # Unparsable bytes inside of it do not change its size.
    assert check(segment(TRACKS, cluster(0), b"\0" * 30, known=True)) is ContainerFormat.WEBM
    assert check(segment(TRACKS, cluster(0, known=False), known=True)) is ContainerFormat.WEBM


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (segment(known=True), "without a video track"),
        (
            segment(element("1654ae6b", element("ae", element("83", b"\x02"))), cluster(0)),
            "without a video track",
        ),
        (segment(TRACKS, known=True), "no frames"),
        (EBML, "before its frames begin"),
        (EBML + element("ec", bytes(9)), "before its frames begin"),
        (EBML + b"\0", "before its frames begin"),
        (element("1a45dfa3", element("4282", b"webp")), "neither WebM nor Matroska"),
        (element("1a45dfa3", b"", known=False), "does not begin"),
        (element("1a45dfa3", bytes(5000)), "does not begin"),
        (b"\x1aE\xdf\xa3\0", "does not begin"),
        (segment(TRACKS, element("ec", b"", known=False), cluster(0)), "no frames"),
    ],
)
def test_an_ebml_file_that_is_no_video_is_refused(content: bytes, match: str) -> None:
    assert refused(content, announced=True, match=match), check(content, announced=True)
