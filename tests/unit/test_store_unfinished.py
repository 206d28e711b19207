"""A store whose run has not ended says so wherever it is read, and is read only on purpose."""

from __future__ import annotations

from pathlib import Path

import pytest

from crash.runs import Counting, QuickFiles, embed, source
from datumaro_embed import cli
from datumaro_embed.errors import InferenceError, StoreUnfinishedError
from datumaro_embed.maintenance import merge_stores, repair_store
from datumaro_embed.store import open_store

N_ITEMS = 36


@pytest.fixture(params=["store", "store.h5"])
def unfinished(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The directory of a run that broke."""
    target = tmp_path / request.param
    with pytest.raises(InferenceError):
        embed(target, source(range(N_ITEMS)), QuickFiles(), encoder=Counting(stop_after=4))
    return target if target.suffix == "" else Path(f"{target}.work")


def committed(path: Path) -> int:
    with open_store(path, partial=True) as store:
        assert not store.complete
        assert store.n_expected == N_ITEMS
        return store.n_rows


def test_it_is_refused_with_what_there_is_of_it(unfinished: Path) -> None:
    n_rows = committed(unfinished)
    assert 0 < n_rows < N_ITEMS
    with pytest.raises(StoreUnfinishedError, match=f"unfinished: {n_rows} of 36 rows") as caught:
        open_store(unfinished)
    assert "Run the `embed` command that writes it again" in str(caught.value)
    assert (caught.value.n_rows, caught.value.n_expected) == (n_rows, N_ITEMS)


def test_every_command_says_so_and_ends_with_status_3(
    unfinished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = f"{committed(unfinished)} of 36 rows"
    out = tmp_path / "out"
    for command in (
        ["verify", unfinished],
        ["search", unfinished, "a cat"],
        ["duplicates", unfinished],
        ["convert", unfinished, "--to", "csv", "-o", out],
        ["report", unfinished, "-o", out],
        ["index", unfinished],
        ["repair", unfinished, "-o", f"{out}.h5"],
        ["merge", unfinished, "-o", f"{out}.h5"],
        ["info", unfinished],
    ):
        assert cli.main([str(word) for word in command]) == 3, command
        assert said in capsys.readouterr().err, command
    assert not out.exists()
    assert not Path(f"{out}.h5").exists()


def test_on_purpose_it_is_read_as_far_as_it_goes(
    unfinished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    n_rows = committed(unfinished)
    out = tmp_path / "out.csv"
    assert cli.main(["convert", str(unfinished), "--to", "csv", "-o", str(out), "--partial"]) == 0
    assert len(out.read_text().splitlines()) == n_rows + 1
    assert cli.main(["duplicates", str(unfinished), "--partial"]) == 0
    assert cli.main(["verify", str(unfinished), "--partial"]) == 0
    assert f"{n_rows} of 36 rows read" in capsys.readouterr().err


def test_repair_makes_a_store_of_it_on_purpose_only(unfinished: Path, tmp_path: Path) -> None:
    n_rows = committed(unfinished)
    with pytest.raises(StoreUnfinishedError):
        repair_store(unfinished, tmp_path / "r.h5")
    repair_store(unfinished, tmp_path / "r.h5", partial=True)
    with open_store(tmp_path / "r.h5") as store:
        assert store.n_rows == n_rows
    with pytest.raises(StoreUnfinishedError):
        merge_stores([unfinished], tmp_path / "m.h5")


def test_the_file_that_a_run_will_publish_stands_for_its_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "store.h5"
    with pytest.raises(InferenceError):
        embed(target, source(range(N_ITEMS)), QuickFiles(), encoder=Counting(stop_after=4))
    assert committed(target) == committed(Path(f"{target}.work"))
    for command in (["verify"], ["duplicates"], ["info"]):
        assert cli.main([*command, str(target)]) == 3
        assert "of 36 rows" in capsys.readouterr().err
    embed(target, source(range(N_ITEMS)), QuickFiles())
    assert cli.main(["verify", str(target)]) == 0


def test_what_is_not_written_yet_is_unknown(
    unfinished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["info", str(unfinished)]) == 3
    said = capsys.readouterr().out
    assert "\nmodel        unknown (the run has not ended)\n" in said
    assert "\nran on       unknown (the run has not ended)\n" in said
