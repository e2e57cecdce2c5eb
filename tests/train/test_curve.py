"""How a run learned is read over all its parts; what a stop cut off counts once."""

from __future__ import annotations

import math
from pathlib import Path

from mien.train.run import curve


def log(folder: Path, part: int, *rows: str) -> None:
    path = folder / "logs" / f"part{part}" / "metrics.csv"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(("epoch,loss,step,valid", *rows)) + "\n")


def test_a_round_that_was_begun_anew_counts_once(tmp_path: Path) -> None:
    log(tmp_path, 0, "0,4.0,9,", "0,2.0,19,", "0,,20,0.5", "1,99.0,29,")
    log(tmp_path, 1, "1,1.5,29,", "1,0.5,39,", "1,,40,0.7")
    made = curve(tmp_path)
    assert made.loss == (3.0, 1.0)
    assert made.valid == (0.5, 0.7)


def test_parts_follow_each_other_by_number_not_by_letters(tmp_path: Path) -> None:
    log(tmp_path, 10, "1,1.0,1,", "1,,1,0.9")
    log(tmp_path, 2, "0,2.0,1,", "0,,1,0.5", "1,7.0,1,", "1,,1,0.1")
    assert curve(tmp_path).valid == (0.5, 0.9)
    assert curve(tmp_path).loss == (2.0, 1.0)


def test_a_run_that_logs_no_loss_has_scores_alone(tmp_path: Path) -> None:
    log(tmp_path, 0, "0,,20,-5.5")
    made = curve(tmp_path)
    assert made.valid == (-5.5,)
    assert math.isnan(made.loss[0])
