"""What a person sees while a night works: rows done, how fast just now, how long it takes at that pace."""

import io
import time

from hypothesis import given
from hypothesis import strategies as st

from nightscore.common.progress import Pace, ProgressLines, RowCounter, Stopwatch


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_speed_is_that_of_the_last_seconds() -> None:
    """A slow beginning is forgotten; what is left is told at today's pace, in seconds, minutes, hours."""
    clock = Clock()
    pace = Pace(clock)
    assert pace("score", 0, 1_000_000) == "0 of 1,000,000"
    clock.now = 5.0
    assert pace("score", 50, 1_000_000) == "50 of 1,000,000, 10/s, 27 h 47 min left"
    for second in range(6, 31):
        clock.now = float(second)
        said = pace("score", (second - 5) * 10_000, 1_000_000)
    assert said == "250,000 of 1,000,000, 10,000/s, 75 s left"
    clock.now = 31.0
    assert pace("score", 1_000_000, 1_000_000).endswith("/s, 0 s left")


def test_a_new_stage_has_a_pace_of_its_own() -> None:
    """And a stage that counts nothing has none."""
    clock = Clock()
    pace = Pace(clock)
    pace("score", 10, 20)
    clock.now = 1.0
    assert pace("decide", 0, 0) == ""
    assert pace("link", 1, 2) == "1 of 2"


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 10**9)), max_size=30))
def test_any_report_is_words(reports: list[tuple[float, int]]) -> None:
    """Whatever is reported, and however the clock stands, a line comes out."""
    clock = Clock()
    pace = Pace(clock)
    for seconds, done in reports:
        clock.now += seconds
        assert pace("score", done, 10**9).startswith(f"{done:,} of 1,000,000,000")


def test_a_log_gets_a_line_at_most_every_few_seconds() -> None:
    """Not one a chunk."""
    out = io.StringIO()
    lines = ProgressLines(out, every=0.05)
    for done in range(1000):
        lines("score", done, 1000)
        time.sleep(0.0002)
    said = out.getvalue().splitlines()
    assert 1 <= len(said) < 20 and all(line.startswith("score ") and " of 1,000" in line for line in said)


def test_threads_add_up() -> None:
    """Rows that several pieces have done are one number, which never falls."""
    from concurrent.futures import ThreadPoolExecutor

    seen: list[int] = []
    count = RowCounter("score", 4_000, lambda _, done, __: seen.append(done))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count, [1] * 4_000))
    assert seen == list(range(1, 4_001))


def test_a_stopwatch_tells_waiting_from_working() -> None:
    """Wall-clock seconds count both; CPU seconds only the work."""
    watch = Stopwatch()
    time.sleep(0.1)
    watch.lap("wait")
    until = time.process_time() + 0.1
    while time.process_time() < until:
        pass
    watch.lap("work")
    assert watch.cpu_seconds["wait"] < 0.05 <= watch.seconds["wait"]
    assert 0.09 <= watch.cpu_seconds["work"] <= watch.seconds["work"] + 0.05
