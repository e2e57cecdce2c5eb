"""One training run in a folder of its own: it can be killed at any moment and goes on from its last round."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import inspect
import json
import logging
import os
import re
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import lightning
import torch
from filelock import FileLock
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    EMAWeightAveraging,
    ModelCheckpoint,
    TQDMProgressBar,
)
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from mien.core.atomic import writing
from mien.core.provenance import digest
from mien.train.lab import Lab
from mien.train.settings import of_training

RUNS = "MIEN_RUNS"
"""The environment variable that names the folder of training runs; `runs` in the working folder otherwise."""


@dataclass(frozen=True)
class Trained:
    """A finished run.

    Attributes:
        lab: with the best weights of the run, by its validation score.
        folder: of the run: checkpoints, logs of each part (metrics.csv, TensorBoard's events), run.json.
        seconds: what training took, over all its parts.
        score: of the best weights on the validation rows.
    """

    lab: Lab[Any]
    folder: Path
    seconds: float
    score: float


@dataclass(frozen=True)
class Curve:
    """How a run learned.

    Attributes:
        loss: mean of each round's logged training losses; NaN where none was logged.
        valid: the validation score of each round.
    """

    loss: tuple[float, ...]
    valid: tuple[float, ...]


def curve(folder: Path) -> Curve:
    """Read how a run learned from the logs of its parts; a round that was begun anew counts once."""
    losses: dict[int, list[float]] = {}
    scores: dict[int, float] = {}
    for log in sorted(
        (folder / "logs").glob("part*/metrics.csv"), key=lambda path: int(path.parent.name[4:])
    ):
        part: dict[int, list[float]] = {}
        with log.open() as file:
            for row in csv.DictReader(file):
                if row.get("loss"):
                    part.setdefault(int(row["epoch"]), []).append(float(row["loss"]))
                if row.get("valid"):
                    scores[int(row["epoch"])] = float(row["valid"])
        losses |= part
    rounds = range(1 + max(scores, default=-1))
    nan = float("nan")
    means = (losses.get(number, [nan]) for number in rounds)
    return Curve(tuple(sum(m) / len(m) for m in means), tuple(scores.get(number, nan) for number in rounds))


def folder_of(system: str, lab: Lab[Any]) -> Path:
    """Return a run's folder: the same code, settings of training and seed go on where they stopped."""
    code = code_of(lab)
    facts = json.dumps({"code": code, "seed": lab.seed, **of_training(lab.config)}, sort_keys=True)
    name = f"seed{lab.seed}-{hashlib.sha256(facts.encode()).hexdigest()[:12]}"
    return Path(os.environ.get(RUNS, "runs")) / system / name


def code_of(lab: Lab[Any]) -> str:
    """Return the digest of a system's file and its networks: when it changes, evidence is stale."""
    return digest(Path(inspect.getfile(type(lab))), Path(str(resources.files("mien"))))


def train(
    system: str,
    make: Callable[[], Lab[Any]],
    *,
    processes: int = 1,
    progress: bool = True,
    folder: Path | None = None,
) -> Trained:
    """Train, or finish a run that was stopped, or take up a finished one.

    After each round all that decides the rest of the run is on disk, complete or absent; the same settings
    and seed give the same weights however often the run was stopped (bit for bit on one CPU thread count).
    A run that another process of this machine is at is waited for: students may ask for one teacher at once.

    Args:
        system: id of the system, which names the folder.
        make: makes the untrained system; called under the run's seed.
        processes: how many train together (torch.distributed; gloo on CPUs).
        progress: show a bar with the time left.
        folder: of the run; None takes the settings' own.
    """
    lab = _made(make)
    folder = folder or folder_of(system, lab)
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / "run.json"
    # Processes that train together are launched by the one that has the lock.
    launched = "LOCAL_RANK" in os.environ
    with contextlib.nullcontext() if launched else FileLock(folder / "lock"):
        if not done.is_file():
            with writing(folder / "settings.json", text=True) as file:
                json.dump({"system": system, "seed": lab.seed, **of_training(lab.config)}, file, indent=1)
            clock = _fit(lab, folder, processes, progress)
            best = _best(folder)
            with writing(done, text=True) as file:
                json.dump({"seconds": clock.seconds, "score": best["score"]}, file)
    facts = json.loads(done.read_text())
    state = torch.load(_best(folder)["path"], map_location="cpu", weights_only=True)
    lab = _made(make)
    lab.load_state_dict(state["state_dict"])
    return Trained(lab.eval(), folder, float(facts["seconds"]), float(facts["score"]))


def _made(make: Callable[[], Lab[Any]]) -> Lab[Any]:
    """Make a system; its first weights depend on its seed alone (the first call tells which that is)."""
    seed = make().seed
    torch.manual_seed(seed)
    return make()


class Bar(TQDMProgressBar):
    """Lightning's progress bar on stderr: stdout is for results."""

    def init_train_tqdm(self) -> Any:
        """Make the bar of a round."""
        with contextlib.redirect_stdout(sys.stderr):
            return super().init_train_tqdm()

    def init_validation_tqdm(self) -> Any:
        """Make the bar of a validation."""
        with contextlib.redirect_stdout(sys.stderr):
            return super().init_validation_tqdm()


class Clock(Callback):
    """Counts the seconds of training over all parts of a run."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._began = 0.0

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin to count."""
        self._began = time.monotonic()

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Add the round."""
        self.seconds += time.monotonic() - self._began

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what a checkpoint kept."""
        self.seconds = float(state_dict["seconds"])


def _fit(lab: Lab[Any], folder: Path, processes: int, progress: bool) -> Clock:
    config = lab.config
    clock = Clock()
    # Lightning's loggers begin their files anew, so each part of a run has its own.
    part = f"part{len(list((folder / 'logs').glob('part*')))}"
    best = ModelCheckpoint(
        folder / "checkpoints",
        filename="best-{epoch}-{valid:.6f}",
        monitor="valid",
        mode="max",
        save_on_train_epoch_end=False,
    )
    # Of its own, and only when a round is over: a checkpoint from within the validation would repeat
    # a part of it.
    last = ModelCheckpoint(
        folder / "checkpoints", filename="last", save_on_train_epoch_end=True, enable_version_counter=False
    )
    callbacks: list[Callback] = [clock, best, last]
    if config.ema:
        callbacks.append(EMAWeightAveraging(decay=config.ema))
    if config.patience:
        callbacks.append(EarlyStopping("valid", mode="max", patience=config.patience))
    if progress:
        callbacks.append(Bar(refresh_rate=10))
    with warnings.catch_warnings():
        # Lightning advises more data workers; rows here are decoded already.
        warnings.filterwarnings("ignore", message=".*num_workers.*|.*does not have many workers.*")
        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
        trainer = lightning.Trainer(
            accelerator="auto",
            devices=processes if processes > 1 else "auto" if torch.cuda.is_available() else 1,
            strategy="ddp" if processes > 1 else "auto",
            precision={"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}[config.precision],  # type: ignore[arg-type]
            max_epochs=config.rounds,
            accumulate_grad_batches=config.accumulate,
            gradient_clip_val=config.clip or None,
            callbacks=callbacks,
            logger=[CSVLogger(folder / "logs", "", part), TensorBoardLogger(folder / "logs", "", part)],
            use_distributed_sampler=False,
            enable_progress_bar=progress,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=20,
            deterministic="warn",
        )
        stopped = folder / "checkpoints" / "last.ckpt"
        trainer.fit(lab, ckpt_path=stopped if stopped.is_file() else None, weights_only=True)
    return clock


def _best(folder: Path) -> dict[str, Any]:
    """Return path and score of the best checkpoint, from its name; the earliest of equals."""
    found = []
    for path in (folder / "checkpoints").glob("best-*.ckpt"):
        # Scores are negative where they are errors.
        parts = re.fullmatch(r"best-epoch=(\d+)-valid=(-?[\d.]+)", path.stem)
        if parts:
            found.append((float(parts[2]), -int(parts[1]), path))
    score, _, path = max(found)
    return {"path": path, "score": score}
