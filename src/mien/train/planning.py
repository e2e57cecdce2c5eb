"""What a classifier of identities costs by arithmetic: memory, traffic and time of a step."""

from __future__ import annotations

from dataclasses import dataclass

NUMBER = 4
"""Bytes of a number (float32)."""

_ROW_INDEX = 8
# Tables of (rows taken, features) that live at once at a step's highest: the rows, the same normalised, the
# gradients of both, and two more in the making.
_ROW_TABLES = 6
# Tables of (faces, rows taken): cosines, with margin, scaled, softmax, their gradient.
_LOGIT_TABLES = 5
# Tables of (rows taken, features) that a step makes: the rows, the same normalised, seven of the gradient of
# that, and of the optimiser the gradient in order, weights, decay, momentum, change.
_ROWS_MADE = 14
# Tables of (faces, rows taken): four up to the loss, twice as many back.
_LOGITS_MADE = 12
# Beyond this size the C library of Linux asks the system for every table anew, page by page.
_FRESH = 32 << 20


@dataclass(frozen=True)
class Machine:
    """How fast one process is.

    Attributes:
        arithmetic: of matrix products, additions and multiplications a second.
        reused: bytes a second of tables that are made by a sum of two others, in memory that was used before.
        fresh: the same in memory that the system gives, which it does page by page.
        drawing: classes a second of a random order.
        network: bytes a second that a process sends to others.
    """

    arithmetic: float
    reused: float
    fresh: float
    drawing: float
    network: float


@dataclass(frozen=True)
class Plan:
    """A classifier on some processes.

    Attributes:
        classes: c, of all processes.
        features: d.
        batch: faces of all processes in a step.
        ranks: number of processes.
        sample: part of the classes that a step takes; 1 is the full softmax by model parallelism.
    """

    classes: int
    features: int = 512
    batch: int = 64
    ranks: int = 1
    sample: float = 0.1

    @property
    def rows(self) -> int:
        """Classes that a process holds, the fullest one."""
        return -(-self.classes // self.ranks)

    @property
    def taken(self) -> int:
        """Classes that a process takes in a step."""
        return round(self.sample * self.rows)

    @property
    def kept_bytes(self) -> int:
        """Bytes of a process between steps: centres and their momentum."""
        return 2 * self.rows * self.features * NUMBER

    @property
    def step_bytes(self) -> int:
        """Bytes that a step adds at its highest: taken rows and logits, a random order of the classes."""
        rows = _ROW_TABLES * self.taken * self.features * NUMBER
        logits = _LOGIT_TABLES * self.batch * self.taken * NUMBER
        return rows + logits + (self.rows * _ROW_INDEX if self.sample < 1 else 0)

    @property
    def traffic_bytes(self) -> int:
        """Bytes that a process sends in a step.

        Its embeddings and labels to all others, gradients of their embeddings to each, and by ring the three
        numbers of each face: the highest logit, the sum and the right class's.
        """
        others = self.ranks - 1
        own = self.batch // self.ranks
        embeddings = others * own * (2 * self.features * NUMBER + _ROW_INDEX)
        return embeddings + 2 * others * 3 * self.batch * NUMBER // self.ranks

    @property
    def copied_traffic_bytes(self) -> int:
        """Bytes that a process would send if each held all centres and took the mean of their gradients."""
        return 2 * (self.ranks - 1) * self.classes * self.features * NUMBER // self.ranks

    @property
    def additions(self) -> int:
        """Additions and multiplications of a process's three matrix products."""
        return 6 * self.batch * self.taken * self.features

    def seconds(self, machine: Machine) -> float:
        """Return the time of a step of the classifier alone, without the network in front of it."""
        drawing = self.rows / machine.drawing if self.sample < 1 else 0.0
        made = 0.0
        for number, width in ((_ROWS_MADE, self.features), (_LOGITS_MADE, self.batch)):
            table = self.taken * width * NUMBER
            made += number * table / (machine.fresh if table > _FRESH else machine.reused)
        return self.additions / machine.arithmetic + made + drawing + self.traffic_bytes / machine.network
