"""`Lab`: the base of every trainable system, a LightningModule whose runs do not depend on their stops."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sized
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, ClassVar, Generic, TypeVar

import lightning
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau
from torch.utils.data import DataLoader, Dataset, Sampler

from mien.core.card import Card
from mien.core.fields import FIELDS
from mien.core.system import DataUsed
from mien.data.order import Shuffled
from mien.train.settings import Settings

C = TypeVar("C", bound=Settings)
Numbers = npt.NDArray[Any]


@dataclass(frozen=True)
class TestPart:
    """Rows that figures are reported on.

    Attributes:
        rows: the data set.
        used: what they are, as evidence names them.
        groups: what figures are told apart by, such as "race": (n,) names of each row's group.
        units: what a verdict draws anew, as numbers: (n,) one, or (n, 2) two of each row, such as the people
            of a pair; None draws rows.
    """

    rows: Dataset[Any]
    used: DataUsed
    groups: Mapping[str, Numbers] = field(default_factory=dict)
    units: Numbers | None = None


class InOrder(Sampler[int]):
    """The order of the round, which Lightning tells: the same after a stop, for any number of workers.

    Args:
        count: number of rows.
        seed: of the run.
        rank: of this process.
        ranks: number of processes.
    """

    def __init__(self, count: int, seed: int, rank: int = 0, ranks: int = 1) -> None:
        self.shuffled, self.rank, self.ranks = Shuffled(count, seed), rank, ranks
        self.round = 0

    def set_epoch(self, epoch: int) -> None:
        """Take the number of the round."""
        self.round = epoch

    def __len__(self) -> int:
        return -(-self.shuffled.n // self.ranks)

    def __iter__(self) -> Iterator[int]:
        return iter(self.shuffled.share(self.round, self.rank, self.ranks).tolist())


class Lab(lightning.LightningModule, Generic[C]):
    """What a system inherits.

    A system gives `train_rows`, `valid_rows`, `test_parts`, its network as attributes, `training_step` and
    `predict`; `score` where accuracy is not what it is validated by; `ships`, `exported` and perhaps
    `calibrate` and `truth` where it ships a model. It inherits resuming, checkpoints, precision, several
    processes, logging, seeds and export.

    Attributes:
        config: the settings.
        seed: of the run; everything random follows from it and the number of the round.
        ships: the name of the model that it ships; empty where it ships none.
    """

    ships: ClassVar[str] = ""

    def __init__(self, config: C, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.seed = seed

    @abstractmethod
    def train_rows(self) -> Dataset[Any]:
        """Return the rows to train on: a map-style dataset."""

    @abstractmethod
    def valid_rows(self) -> Dataset[Any]:
        """Return the rows that runs are compared on; never the test rows."""

    @abstractmethod
    def test_parts(self) -> tuple[TestPart, ...]:
        """Return what figures are reported on: the official test rows, then parts to be told separately."""

    @abstractmethod
    def predict(self, batch: Any) -> Tensor:
        """Return (n, ...) predictions for a batch, as the system's metrics take them."""

    @abstractmethod
    def targets(self, batch: Any) -> Tensor:
        """Return the (n, ...) truth that goes with `predict`."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes that `predict` tells apart, in its order; empty where it predicts values.

        Unless overridden: those of the first field of the model that it ships.
        """
        if not self.ships:
            return ()
        made = self.card().makes[0]
        return made.labels or FIELDS[made.field].labels

    def truth(self, batch: Any) -> dict[str, Tensor]:
        """Return what `exported` should have given for a batch, by field: (n,) classes or values.

        Classes count in the order of the field's labels, values have its unit; a field of several values has
        (n, c). Intervals (`age_interval`) need none: they are judged by the truth of what they enclose.
        Unless overridden: `targets` is the truth of the first field.
        """
        return {self.card().fields[0]: self.targets(batch)}

    def score(self, targets: Numbers, predictions: Numbers) -> float:
        """Return how good predictions are, higher is better: what early stopping and the best weights go by.

        Unless overridden: the accuracy of (n, c) scores against (n,) classes.
        """
        return float(np.mean(predictions.argmax(axis=1) == targets))

    def calibrate(self) -> None:
        """Fit on the validation rows what `exported` adds to the network; export calls it.

        Unless overridden: nothing.
        """

    def exported(self) -> nn.Module:
        """Return the network as it ships: (n, 1 or 3, H, W) of 0..255 in, fields of `Faces` by name out."""
        raise NotImplementedError(f"{type(self).__name__} ships no model")

    def card(self) -> Card:
        """Return the card of what `exported` gives: the one that stands in `models/cards` under `ships`."""
        if not self.ships:
            raise NotImplementedError(f"{type(self).__name__} ships no model")
        file = resources.files("mien").joinpath("models", "cards", f"{self.ships}.json")
        return Card.from_json(file.read_text("utf-8"), f"{self.ships}.json")

    # ---- what Lightning asks for

    def train_dataloader(self) -> DataLoader[Any]:
        """Return batches of the training rows in the order of the round."""
        rows = self.train_rows()
        assert isinstance(rows, Sized)
        order = InOrder(len(rows), self.seed, self.global_rank, self.trainer.world_size)
        # A last batch of a single row would break batch normalisation.
        return DataLoader(rows, self.config.batch, sampler=order, drop_last=len(rows) >= self.config.batch)

    def val_dataloader(self) -> DataLoader[Any]:
        """Return batches of the validation rows."""
        return DataLoader(self.valid_rows(), max(self.config.batch, 128))

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Begin each step from a random state of its own: a resumed run draws as an undisturbed one.

        Not each round: making the data's iterator draws too, and happens at another moment after a resume.
        """
        torch.manual_seed(hash((self.seed, self.current_epoch, batch_idx, self.global_rank)) % 2**63)

    def on_validation_epoch_start(self) -> None:
        """Forget the last validation."""
        self._seen: list[tuple[Numbers, Numbers]] = []

    def validation_step(self, batch: Any, index: int) -> None:
        """Collect predictions; metrics are of all rows, not means over batches."""
        self._seen.append((_array(self.targets(batch)), _array(self.predict(batch))))

    def on_validation_epoch_end(self) -> None:
        """Log `score` as "valid"."""
        targets, predictions = (np.concatenate(column) for column in zip(*self._seen, strict=True))
        self.log("valid", self.score(targets, predictions), prog_bar=True, sync_dist=True)

    def configure_optimizers(self) -> Any:
        """Return the settings' optimiser and schedule; weights of one axis (norms, biases) do not decay.

        There is no warmup before a plateau.
        """
        config = self.config
        learned = [p for p in self.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in learned if p.ndim > 1], "weight_decay": config.weight_decay},
            {"params": [p for p in learned if p.ndim <= 1], "weight_decay": 0.0},
        ]
        optimiser = self.optimiser_of(groups)
        if config.schedule == "plateau":
            falling = ReduceLROnPlateau(optimiser, "max", factor=0.2, patience=1)
            watched = {"scheduler": falling, "interval": "epoch", "monitor": "valid"}
            return {"optimizer": optimiser, "lr_scheduler": watched}
        steps = int(self.trainer.estimated_stepping_batches)
        warm = config.warmup * steps / config.rounds

        def factor(step: int) -> float:
            if step < warm:
                return (step + 1) / (warm + 1)
            if config.schedule == "constant":
                return 1.0
            if config.schedule == "steps":
                return 0.1 ** ((step >= steps / 2) + (step >= 0.75 * steps))
            return 0.5 * (1 + float(np.cos(np.pi * min(1.0, (step - warm) / max(1.0, steps - warm)))))

        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": LambdaLR(optimiser, factor), "interval": "step"},
        }

    def optimiser_of(self, groups: list[dict[str, Any]]) -> Optimizer:
        """Return the settings' optimiser of groups of weights."""
        config = self.config
        if config.optimiser == "sgd":
            nesterov = config.momentum > 0
            return torch.optim.SGD(
                groups, lr=config.learning_rate, momentum=config.momentum, nesterov=nesterov
            )
        kinds: dict[str, Callable[..., Optimizer]] = {
            "adamw": torch.optim.AdamW,
            "rmsprop": torch.optim.RMSprop,
            "adagrad": torch.optim.Adagrad,
        }
        return kinds[config.optimiser](groups, lr=config.learning_rate)

    @torch.no_grad()
    def predictions(self, rows: Dataset[Any]) -> tuple[Numbers, Numbers]:
        """Return (targets, predictions) over rows, in their order."""
        self.eval()
        seen = [(_array(self.targets(batch)), _array(self.predict(batch))) for batch in DataLoader(rows, 128)]
        targets, predicted = (np.concatenate(column) for column in zip(*seen, strict=True))
        return targets, predicted


def _array(values: Tensor) -> Numbers:
    return values.detach().float().cpu().numpy() if values.is_floating_point() else values.cpu().numpy()
