"""Marks of what is held: made and removed by several at once, by who decides and a page that looks."""

import threading
from pathlib import Path

from nightscore.common import open_workspace
from nightscore.store import storage
from nightscore.store.places import held
from nightscore.store.places.run_folder import RunFolder

ROUNDS, WHO = 200, 4


def test_a_mark_that_another_removes_while_it_is_made_is_no_error(tmp_path: Path) -> None:
    """One too many or one too few is mended by the next look; an error would end a person's decision."""
    (tmp_path / "jobs").mkdir()
    run = RunFolder(storage.runs(open_workspace(tmp_path)) / "mini/2020-01-02/run")
    failed: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(ROUNDS):
                held.mark_held(run)
                held.unmark_held(run)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(WHO)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed[0]
    assert not held.list_marked(open_workspace(tmp_path))
