"""A plan covers each row once, in order, in pieces of a right size, and crosses processes as text."""

import dataclasses
from collections.abc import Iterator, Sequence

from hypothesis import given
from hypothesis import strategies as st

from nightscore.store.documents.pieces import LARGEST_PIECE, PIECES, SMALLEST_PIECE, cut_pieces
from nightscore.store.documents.plan import InputFile, Piece, Plan, json_digest, plan_from_json

GROUPS = st.lists(st.integers(0, 200_000) | st.integers(0, 3) | st.just(SMALLEST_PIECE), max_size=12)
FILES = st.lists(GROUPS, max_size=6)
LIMITS = st.none() | st.integers(1, 3_000_000)


def files_of(groups: Sequence[Sequence[int]]) -> list[InputFile]:
    return [InputFile(f"f{i}.parquet", 1, "1:1:1", "x", "2020-01-01", tuple(g)) for i, g in enumerate(groups)]


def total(groups: Sequence[Sequence[int]], limit: int | None) -> int:
    return min(sum(map(sum, groups)), 1 << 62 if limit is None else limit)


def target(rows: int) -> int:
    return min(max(rows // PIECES, SMALLEST_PIECE), LARGEST_PIECE)


def spans(pieces: Sequence[Piece]) -> Iterator[tuple[str, int, int]]:
    """The row ranges of some pieces, in order, neighbours of one file as one."""
    held: tuple[str, int, int] | None = None
    for one in (r for piece in pieces for r in piece.ranges):
        if held and held[0] == one.path and held[2] == one.start:
            held = (held[0], held[1], one.stop)
        else:
            if held:
                yield held
            held = (one.path, one.start, one.stop)
    if held:
        yield held


@given(FILES, LIMITS)
def test_each_row_is_in_one_piece_in_order(groups: list[list[int]], limit: int | None) -> None:
    """The pieces, put together, are the first rows of the files as they stand, up to the limit, each once."""
    left, wanted = total(groups, limit), []
    for i, file in enumerate(groups):
        rows = min(sum(file), left)
        left -= rows
        if rows:
            wanted.append((f"f{i}.parquet", 0, rows))
    found = [span for span in spans(cut_pieces(files_of(groups), "m", limit)) if span[1] < span[2]]
    assert found == wanted


@given(FILES, LIMITS)
def test_pieces_have_a_right_size(groups: list[list[int]], limit: int | None) -> None:
    """None is larger than three targets, none but the last smaller than one, none is empty."""
    pieces = cut_pieces(files_of(groups), "m", limit)
    rows = total(groups, limit)
    size = target(rows)
    assert sum(piece.rows for piece in pieces) == rows
    assert all(piece.rows < 3 * size for piece in pieces)
    assert all(piece.rows >= size for piece in pieces[:-1])
    assert len(pieces) <= max(1, rows // size + 1)
    assert [piece.index for piece in pieces] == list(range(len(pieces)))
    if rows:
        assert all(piece.rows for piece in pieces)
    assert all(r.start < r.stop or not rows for piece in pieces for r in piece.ranges)


@given(GROUPS, st.data(), LIMITS)
def test_the_sizes_do_not_depend_on_the_grouping_into_files(
    groups: list[int], data: st.DataObject, limit: int | None
) -> None:
    """The same row groups in one file, or in many, are cut after the same rows."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(groups)), max_size=4)))
    grouped = [groups[a:b] for a, b in zip([0, *cuts], [*cuts, len(groups)], strict=True)]
    one, many = cut_pieces(files_of([groups]), "m", limit), cut_pieces(files_of(grouped), "m", limit)
    assert [p.rows for p in one] == [p.rows for p in many]


@given(st.integers(0, 40_000_000), LIMITS)
def test_one_large_row_group_is_divided(rows: int, limit: int | None) -> None:
    """However large a row group is, no piece is larger than two targets."""
    size = target(total([[rows]], limit))
    assert all(piece.rows <= 2 * size for piece in cut_pieces(files_of([[rows]]), "m", limit))


@given(FILES, LIMITS, st.integers(1000, 2_000_000))
def test_a_job_says_how_many_rows_a_piece_has(groups: list[list[int]], limit: int | None, rows: int) -> None:
    """Each piece but the last has as many rows as the job asks for, and less than three times as many."""
    pieces = cut_pieces(files_of(groups), "m", limit, rows=rows)
    assert sum(piece.rows for piece in pieces) == total(groups, limit)
    assert all(rows <= piece.rows < 3 * rows for piece in pieces[:-1])


def test_wide_rows_make_small_pieces() -> None:
    """20 million rows of 1,000 bytes are no pieces of 1,000 MB each, as narrow ones are of a million rows."""
    [narrow] = files_of([[20_000_000]])
    wide = dataclasses.replace(narrow, bytes=20_000_000_000)
    assert {piece.rows for piece in cut_pieces([narrow], "m")} == {1_000_000}
    assert {piece.rows for piece in cut_pieces([wide], "m")[:-1]} == {256_000}


def test_an_empty_day_is_one_empty_piece() -> None:
    """A day without rows still becomes one staged file, so that it can be published; no files are none."""
    for groups in ([[]], [[0]], [[], [0, 0]]):
        [piece] = cut_pieces(files_of(groups), "m")
        assert piece.rows == 0
    assert cut_pieces([], "m") == ()


@given(FILES, st.text(max_size=5))
def test_names_tell_pieces_apart(groups: list[list[int]], maker: str) -> None:
    """A piece's fingerprint is of its rows and its maker: the same again, and never shared."""
    first, again = cut_pieces(files_of(groups), maker), cut_pieces(files_of(groups), maker)
    assert first == again
    names = [piece.fingerprint for piece in first]
    assert len(set(names)) == len(names)
    assert not set(names) & {piece.fingerprint for piece in cut_pieces(files_of(groups), maker + "!")}
    assert all(len(name) == 32 and set(name) <= set("0123456789abcdef") for name in names)


TEXTS = st.text(max_size=10)
INPUTS = st.dictionaries(
    TEXTS,
    st.lists(
        st.builds(
            InputFile,
            TEXTS,
            st.integers(),
            TEXTS,
            TEXTS,
            TEXTS,
            st.lists(st.integers(), max_size=3).map(tuple),
        ),
        max_size=2,
    ).map(tuple),
    max_size=2,
)
PARAMS = st.dictionaries(
    TEXTS, st.integers() | st.booleans() | TEXTS | st.floats(allow_nan=False), max_size=3
)


@given(
    st.builds(
        Plan,
        job=TEXTS,
        day=TEXTS,
        status=st.sampled_from(["score", "unchanged", "skipped"]),
        run_id=TEXTS,
        run_number=st.integers(),
        params=PARAMS,
        inputs=INPUTS,
        versions=st.dictionaries(TEXTS, TEXTS, max_size=2),
        chunk_rows=st.integers(),
        limit=st.none() | st.integers(),
        seen=st.lists(TEXTS, max_size=3).map(tuple),
        pieces=FILES.map(lambda groups: cut_pieces(files_of(groups), "m")),
        started=st.floats(allow_nan=False),
        seconds=st.dictionaries(TEXTS, st.floats(allow_nan=False), max_size=2),
        reason=TEXTS,
    )
)
def test_a_plan_crosses_processes_as_text(plan: Plan) -> None:
    """What is written as JSON is read back equal, in value and in type, and written the same."""
    again = plan_from_json(plan.to_json())
    assert again == plan
    assert again.to_json() == plan.to_json()
    assert [type(getattr(again, f.name)) for f in dataclasses.fields(plan)] == [
        type(getattr(plan, f.name)) for f in dataclasses.fields(plan)
    ]


def test_a_digest_is_of_values_and_their_order() -> None:
    """Nested values count, the order of keys does not, and no two lists run together."""
    assert json_digest({"a": 1, "b": [2]}) == json_digest({"b": [2], "a": 1})
    assert (
        len(
            {
                json_digest("ab"),
                json_digest("a", "b"),
                json_digest(["a", "b"]),
                json_digest(1),
                json_digest("1"),
                json_digest(None),
            }
        )
        == 6
    )
