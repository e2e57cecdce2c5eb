"""What the system of a paper says of itself, and the evidence that a run of it leaves."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Literal

from mien.core import strict
from mien.core.errors import MienError

Verdict = Literal["yes", "no", "inconclusive"]


class EvidenceError(MienError):
    """A result file that is no evidence: not written by `mien reproduce`, or damaged."""


@dataclass(frozen=True)
class Claim:
    """Something that a paper says and a run can show.

    Attributes:
        text: the claim in one sentence.
        protocol: on what and how it is measured.
        metric: what is compared, such as "accuracy".
        paper_value: the paper's own number; None where it gives none for this claim.
        where: where the paper says so, such as "Table 2".
    """

    text: str
    protocol: str
    metric: str
    paper_value: float | None
    where: str


@dataclass(frozen=True)
class System:
    """The row at the top of a paper's file, `SYSTEM = System(...)`: literal, to be read without importing.

    Attributes:
        id: the system's name.
        title: the paper's.
        year: of the paper.
        room: the folder below `systems/`.
        makes: the fields of `Faces` that its exported model makes; empty where it makes none.
        claims: what it says and a run can show; at least one.
        serves: the command by which people use it; empty while none does.
    """

    id: str
    title: str
    year: int
    room: str
    makes: tuple[str, ...]
    claims: tuple[Claim, ...]
    serves: str = ""

    def __post_init__(self) -> None:
        if not self.claims:
            raise ValueError(f"{self.id} claims nothing")


@dataclass(frozen=True)
class DataUsed:
    """The rows that a figure was measured on.

    Attributes:
        name: of the set.
        split: of the set.
        rows: how many were used.
        sha256: of their content, so that the same rows can be recognised.
    """

    name: str
    split: str
    rows: int
    sha256: str


@dataclass(frozen=True)
class Arm:
    """One side of a comparison.

    Attributes:
        name: of the arm.
        values: the metric for each seed, in the order of the evidence's seeds.
    """

    name: str
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean over the seeds."""
        return sum(self.values) / len(self.values)

    @property
    def deviation(self) -> float:
        """The sample standard deviation over the seeds; 0 for one seed."""
        if len(self.values) < 2:
            return 0.0
        return math.sqrt(sum((v - self.mean) ** 2 for v in self.values) / (len(self.values) - 1))


@dataclass(frozen=True)
class Evidence:
    """What a reproduction of a claim gave. Written by `mien reproduce`, never by hand.

    Attributes:
        evidence: version of this schema, 1.
        system: id of the system.
        claim: the claim's text.
        metric: what was measured.
        data: what it was measured on.
        seeds: of the runs.
        arms: the sides of the comparison, the one that the claim puts first in front.
        difference: of the first arm to the second one.
        interval: its 95 % interval.
        holds: "yes" when the interval lies wholly on the claim's side of zero, "no" when on the other, else
            "inconclusive"; where one arm is claimed to be as good, `test` names the number in place of zero.
        test: the statistical test in words.
        paper_value: the paper's own number, quoted.
        code: SHA-256 of the system's file that ran.
        version: of mien.
        packages: versions of the packages that decide numbers.
        machine: what it ran on.
        seconds: what it cost, all arms and seeds together.
        finished: when, as an ISO 8601 date and time in UTC.
        note: what a reader has to know, such as a budget that was cut.
    """

    evidence: Literal[1]
    system: str
    claim: str
    metric: str
    data: tuple[DataUsed, ...]
    seeds: tuple[int, ...]
    arms: tuple[Arm, ...]
    difference: float
    interval: tuple[float, float]
    holds: Verdict
    test: str
    paper_value: float | None
    code: str
    version: str
    packages: tuple[str, ...]
    machine: str
    seconds: float
    finished: str
    note: str = ""

    def __post_init__(self) -> None:
        if not self.arms or any(len(arm.values) != len(self.seeds) for arm in self.arms):
            raise ValueError("every arm needs one value for each seed")

    @classmethod
    def from_json(cls, text: str, where: str) -> Evidence:
        """Read a result file.

        Raises:
            EvidenceError: names what is wrong in it.
        """
        try:
            return strict.read(cls, json.loads(text), where)
        except (ValueError, MienError) as error:
            raise EvidenceError(f"{where} is no evidence: {error}") from error

    def to_json(self) -> str:
        """Return it as JSON; `from_json` is the inverse."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"
