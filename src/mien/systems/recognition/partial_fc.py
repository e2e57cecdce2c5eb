"""Partial FC: softmax over the batch's persons and a tenth of the others (An et al. 2020, arXiv 2010.05222).

A classifier of c people needs as much memory as c grows: for the centres, their momentum, and most of all for
the logits of every face with every centre. The paper spreads the centres over the processes, and takes in
each step only those of the people in the batch and a random part of the others ("positive plus randomly
negative"), so that a tenth of the logits is left; centres that were not taken keep weights and momentum. How
classes are spread and drawn is in `mien.nn.partial`, how they are stepped in `mien.train.rows`.

It claims that nothing is lost: that a network learned with a tenth of the classes is as good as with all. A
network that is merely untrained would be as good as another one, so a third arm takes so few classes that
hardly any but the batch's own are left: it shows whether the measure can tell at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from torch import Tensor
from torch.optim import Optimizer

from mien.core.system import Claim, System
from mien.evaluate.reproduce import Reproduction
from mien.nn.embedder import Embedder
from mien.nn.ir50 import IR50
from mien.nn.margins import Margin
from mien.nn.partial import PartialSoftmax
from mien.train.recognition import RecognitionLab, RecognitionSettings
from mien.train.rows import RowSGD

SYSTEM = System(
    id="partial-fc",
    title="Partial FC: Training 10 Million Identities on a Single Machine",
    year=2020,
    room="recognition",
    makes=("embeddings",),
    claims=(
        Claim(
            text="Training with a tenth of the classes, drawn anew each step, loses no accuracy",
            protocol="pairs of held-out people; no loss means an AUC less than 0.01 lower than "
            "with all classes",
            metric="ROC AUC",
            paper_value=None,
            where="abstract; the authors' page: TAR at FAR 0.01 % on IJB-C 97.3 % with a tenth and with all "
            "of Glint360K's 360,232 people, on IFRT 88.23 % and 88.67 %",
        ),
    ),
)

_TENTH = "Training with a tenth of the classes, drawn anew each step, loses no accuracy"


@dataclass(frozen=True)
class Config(RecognitionSettings):
    """Settings of Partial FC.

    Attributes:
        sample: part of the classes that a step takes; 1 is all of them.
        loss: whose margin the right class has.
        margin: its size.
        scale: of the cosines.
        network: the paper's, or the small one that losses are compared on.
    """

    sample: float = 0.1
    loss: Margin = "cosface"
    margin: float = 0.4
    scale: float = 64.0
    network: Literal["ir-100", "small"] = "ir-100"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.optimiser != "sgd":
            raise ValueError(f"classes that are not taken rest under SGD only, not under {self.optimiser}")
        if self.clip:
            raise ValueError("gradients that are spread over processes have no common norm to be clipped by")


RECIPES = MappingProxyType(
    {
        "tiny": Config(
            rounds=1, batch=32, rows=128, size=32, embedding=16, margin=0.2, scale=16.0, network="small"
        ),
        "cpu": Config(
            rounds=8,
            batch=64,
            learning_rate=0.1,
            weight_decay=5e-4,
            warmup=1.0,
            size=32,
            embedding=128,
            many=True,
            margin=0.2,
            scale=16.0,
            network="small",
        ),
        # The authors' code (default.py): 64 pictures on each of 8 devices, 0.1, 180,000 steps of MS1MV2's 5.8
        # million pictures, a tenth of the rate twice; CosFace's margin of 0.4.
        "paper": Config(
            rounds=16, batch=64, learning_rate=0.1, weight_decay=5e-4, schedule="steps", many=True
        ),
    }
)

REPRODUCE = (
    Reproduction(
        claim=_TENTH,
        metric="ROC AUC",
        arms=(
            ("10 % of the classes", ("sample=0.1",)),
            ("all classes", ("sample=1.0",)),
            ("1 % of the classes", ("sample=0.01",)),
        ),
        tolerance=0.01,
        note="12,023 faces of 4,422 people at 32 px and a small network instead of 17 million of 360,232, 8 "
        "rounds, one process: a tenth is 442 classes a step, 1 % hardly more than the batch's own. What "
        "sampling saves is in the benchmark, not here",
    ),
)


def ir100(config: Config) -> IR50:
    """Make the network of the paper's accuracies, IR-100, as ArcFace has it with one more norm a block.

    65,129,792 parameters for 512 numbers of a face of 112 px; 22,144 more (65.15 million) with those norms.
    """
    return IR50(config.size, config.embedding, dropout=0.0, depths=(3, 13, 30, 3))


class PartialFC(RecognitionLab[Config]):
    """A network under Partial FC; with several processes each holds a part of the centres."""

    def __init__(self, config: Config, seed: int = 0) -> None:
        super().__init__(config, seed)
        small = config.network == "small"
        self.net = Embedder(config.embedding) if small else ir100(config)
        self.head = PartialSoftmax(
            config.embedding, self.people, config.sample, config.loss, config.margin, config.scale
        )
        # DistributedDataParallel would make every process's part the first one's.
        self._ddp_params_and_buffers_to_ignore = ["head.centres"]

    def setup(self, stage: str) -> None:
        """Take this process's part of the centres."""
        if self.trainer.world_size > 1 and self.head.shard.ranks == 1:
            if self.config.ema:
                raise ValueError("there is no moving average of centres that are spread over processes")
            self.head.share(self.global_rank, self.trainer.world_size)

    def optimiser_of(self, groups: list[dict[str, Any]]) -> Optimizer:
        """Return SGD that leaves classes alone which a step has not taken."""
        config = self.config
        return RowSGD(groups, lr=config.learning_rate, momentum=config.momentum, nesterov=config.momentum > 0)

    def embed(self, pixels: Tensor) -> Tensor:
        """Return (n, embedding) of (n, 3, H, W) faces."""
        made: Tensor = self.net(pixels)
        return made

    def training_step(self, batch: Any, index: int) -> Tensor:
        """Return the loss over the taken classes."""
        pixels, persons = batch
        value: Tensor = self.head(self.embed(self.augmented(pixels)), persons)
        self.log("loss", value)
        return value

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the tables of all processes, so that any number of them can go on."""
        shard = self.head.shard
        checkpoint["state_dict"]["head.centres"] = shard.whole(self.head.centres.detach())
        for state in checkpoint.get("optimizer_states", []):
            own = state["state"].get(self._place())
            if own and own.get("momentum_buffer") is not None:
                state["state"][self._place()] = {"momentum_buffer": shard.whole(own["momentum_buffer"])}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take this process's part of the tables."""
        shard = self.head.shard
        checkpoint["state_dict"]["head.centres"] = shard.part(checkpoint["state_dict"]["head.centres"])
        for state in checkpoint.get("optimizer_states", []):
            own = state["state"].get(self._place())
            if own and own.get("momentum_buffer") is not None:
                own["momentum_buffer"] = shard.part(own["momentum_buffer"]).clone()

    def _place(self) -> int:
        """Return the number under which the optimiser keeps the centres' momentum."""
        matrices = [weights for weights in self.parameters() if weights.requires_grad and weights.ndim > 1]
        return next(place for place, weights in enumerate(matrices) if weights is self.head.centres)


LAB = PartialFC
