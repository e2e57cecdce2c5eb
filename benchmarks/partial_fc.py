"""Partial FC against the full softmax: time and memory of a step, by identities and by processes; a plan.

python benchmarks/partial_fc.py [--classes 10000 100000 1000000] [--rounds 3] [--steps 3]

A step is the classifier's alone: loss of 64 embeddings of 512 numbers, gradients, SGD with momentum. Full is
`MarginSoftmax` with torch's SGD, partial is `PartialSoftmax` with a tenth of the classes and `RowSGD`; both
with CosFace's margin, one thread a process, every run in processes of its own, the two ways in turn. Memory
is what the classifier adds to its process at its highest, and the bytes of the tables that it keeps.

How fast this machine multiplies, copies, draws and sends is measured in the same run; the plan
(`mien.train.planning`) makes each point's time and memory of that, and the points that no machine here holds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Literal

import psutil
import torch
import torch.distributed as processes

import machine
from mien.nn.margins import MarginSoftmax
from mien.nn.partial import PartialSoftmax, Shard
from mien.train.planning import Machine, Plan
from mien.train.rows import RowSGD

Way = Literal["full", "partial"]
WAYS: tuple[Way, ...] = ("full", "partial")
FEATURES, BATCH, SAMPLE = 512, 64, 0.1
RANKS = (1, 2, 4)
PLANNED = ((1_000_000, 1), (10_000_000, 1), (10_000_000, 8), (100_000_000, 8), (100_000_000, 64))
"""Classes and processes of the plan."""


def measure(way: Way, classes: int, rank: int, ranks: int, steps: int, meet: str) -> None:
    """Make steps and print what they took; runs in a process of its own."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if ranks > 1:
        processes.init_process_group("gloo", init_method=f"file://{meet}", rank=rank, world_size=ranks)
    own = BATCH // ranks
    # What torch itself loads for a step is not the classifier's.
    _step(*_classifier(way, Shard(own * ranks, rank, ranks)), torch.zeros(own, FEATURES), torch.arange(own))
    before = psutil.Process(os.getpid()).memory_info().rss
    head, by = _classifier(way, Shard(classes, rank, ranks))
    random = torch.Generator().manual_seed(rank)
    took = []
    # The first step makes the momentum.
    for _ in range(steps + 1):
        embeddings = torch.randn(own, FEATURES, generator=random)
        labels = torch.randint(0, classes, (own,), generator=random)
        if ranks > 1:
            processes.barrier()
        start = time.perf_counter()
        _step(head, by, embeddings, labels)
        took.append(1000 * (time.perf_counter() - start))
    tables = [*head.parameters(), *(state["momentum_buffer"] for state in by.state.values())]
    kept = sum(table.numel() * table.element_size() for table in tables)
    print(json.dumps({"ms": took[1:], "kept": kept, "peak": machine.peak_bytes() - before}))
    if ranks > 1:
        processes.destroy_process_group()


def _classifier(way: Way, shard: Shard) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    sgd: dict[str, Any] = {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
    if way == "partial":
        partial = PartialSoftmax(FEATURES, shard.rows, SAMPLE, shard=shard)
        return partial, RowSGD(partial.parameters(), **sgd)
    full = MarginSoftmax(FEATURES, shard.rows, "cosface", 0.4)
    return full, torch.optim.SGD(full.parameters(), **sgd)


def _step(
    head: torch.nn.Module, by: torch.optim.Optimizer, embeddings: torch.Tensor, labels: torch.Tensor
) -> None:
    by.zero_grad()
    head(embeddings.requires_grad_(), labels).backward()
    by.step()


def run(way: Way, classes: int, ranks: int, steps: int) -> dict[str, Any]:
    """Return what a classifier took on some processes: ms of each step, bytes of each process."""
    with tempfile.TemporaryDirectory() as folder:
        running = [
            subprocess.Popen(
                [
                    *(sys.executable, __file__, "--measure"),
                    *(way, str(classes), str(rank), str(ranks), str(steps), f"{folder}/meet"),
                ],
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
            for rank in range(ranks)
        ]
        written = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        raise SystemExit(f"{way}, {classes:,} classes, {ranks} processes: a process ended by an error")
    parts = [json.loads(text.splitlines()[-1]) for text in written]
    return {"ms": parts[0]["ms"], **{key: [part[key] for part in parts] for key in ("kept", "peak")}}


def compare(classes: int, rounds: int, steps: int) -> dict[str, Any]:
    """Measure one process both ways, in turn."""
    runs: dict[Way, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for turn in range(rounds):
        for way in WAYS if turn % 2 == 0 else WAYS[::-1]:
            runs[way].append(run(way, classes, 1, steps))
    middle = {way: [_middle(one["ms"]) for one in found] for way, found in runs.items()}
    return {
        "classes": classes,
        **{way: _point(way, classes, found) for way, found in runs.items()},
        "times_faster": machine.spread(
            [full / partial for full, partial in zip(middle["full"], middle["partial"], strict=True)]
        ),
        "times_less_memory": round(
            max(one["peak"][0] for one in runs["full"]) / max(one["peak"][0] for one in runs["partial"]), 2
        ),
    }


def _point(way: Way, classes: int, runs: Sequence[dict[str, Any]], ranks: int = 1) -> dict[str, Any]:
    highest = max(runs, key=lambda one: max(one["peak"]))
    return {
        "plan": asdict(Plan(classes, FEATURES, BATCH, ranks, SAMPLE if way == "partial" else 1.0)),
        "step_ms": machine.spread([ms for one in runs for ms in one["ms"]], 1),
        "kept_bytes": highest["kept"],
        "peak_bytes": highest["peak"],
    }


def _middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def constants() -> dict[str, float]:
    """Measure what the plan needs to know of this machine: one thread, the best of some repeats."""
    torch.set_num_threads(1)
    rows = 50_000
    table, other = torch.randn(rows, FEATURES), torch.randn(rows, FEATURES)
    faces = torch.randn(BATCH, FEATURES)

    def best(work: Callable[[], Any]) -> float:
        took = []
        for _ in range(5):
            start = time.perf_counter()
            work()
            took.append(time.perf_counter() - start)
        return min(took)

    return {
        "arithmetic": 2 * BATCH * FEATURES * rows / best(lambda: faces @ table.T),
        "reused": table.numel() * 4 / best(lambda: torch.add(table, other, out=other)),
        "fresh": table.numel() * 4 / best(lambda: table + other),
        "drawing": 1_000_000 / best(lambda: torch.randperm(1_000_000)),
        "network": _network(),
    }


def send(rank: int, meet: str) -> None:
    """Print the bytes a second that one of two processes sends; runs in a process of its own."""
    processes.init_process_group("gloo", init_method=f"file://{meet}", rank=rank, world_size=2)
    part, whole = torch.zeros(2_000_000), torch.zeros(4_000_000)
    took = []
    for _ in range(6):
        processes.barrier()
        start = time.perf_counter()
        processes.all_gather_single(whole, part)
        took.append(time.perf_counter() - start)
    print(part.numel() * 4 / min(took))
    processes.destroy_process_group()


def _network() -> float:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--send"]
        running = [
            subprocess.Popen([*command, str(rank), f"{folder}/meet"], stdout=subprocess.PIPE, text=True)
            for rank in range(2)
        ]
        return min(float(process.communicate()[0].splitlines()[-1]) for process in running)


def planned(point: dict[str, Any], here: Machine) -> dict[str, Any]:
    """Return a measured point with what the plan says of it."""
    plan = Plan(**point["plan"])
    return {
        **point,
        "planned_ms": round(1000 * plan.seconds(here), 1),
        "planned_kept_bytes": plan.kept_bytes,
        "planned_peak_bytes": plan.kept_bytes + plan.step_bytes,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--classes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=3, help="of both ways in turn")
    parser.add_argument("--steps", type=int, default=3, help="of each run")
    parser.add_argument("--measure", nargs=6, help=argparse.SUPPRESS)
    parser.add_argument("--send", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        way, classes, rank, ranks, steps, meet = given.measure
        return measure(way, int(classes), int(rank), int(ranks), int(steps), meet)
    if given.send:
        return send(int(given.send[0]), given.send[1])
    most = Plan(max(given.classes), FEATURES, BATCH, sample=1.0)
    needed, free = most.kept_bytes + most.step_bytes, psutil.virtual_memory().available
    if needed > free:
        parser.error(f"the full softmax needs {needed / 1e9:.1f} GB of memory, {free / 1e9:.1f} are free")
    result: dict[str, Any] = {"machine": machine.facts(("torch",))}
    measured = constants()
    here = Machine(**measured)
    print({name: f"{value:.3g}" for name, value in measured.items()})
    result |= {"features": FEATURES, "batch": BATCH, "sample": SAMPLE, "constants": measured}
    result["compared"] = []
    for classes in given.classes:
        row = compare(classes, given.rounds, given.steps)
        row |= {way: planned(row[way], here) for way in WAYS}
        result["compared"].append(row)
        print(json.dumps(row))
    # The same classes on more processes, and as many on each.
    wanted = {(most.classes, ranks) for ranks in RANKS}
    wanted |= {(most.classes * ranks // RANKS[-1], ranks) for ranks in RANKS}
    result["ranks"] = []
    for classes, ranks in sorted(wanted):
        runs = [run("partial", classes, ranks, given.steps) for _ in range(given.rounds)]
        point = planned(_point("partial", classes, runs, ranks), here)
        result["ranks"].append(point)
        print(json.dumps(point))
    result["plans"] = []
    for classes, ranks in PLANNED:
        made, full = (Plan(classes, FEATURES, BATCH * ranks, ranks, sample) for sample in (SAMPLE, 1.0))
        result["plans"].append(
            {
                "classes": classes,
                "ranks": ranks,
                "batch": made.batch,
                "kept_bytes": made.kept_bytes,
                "step_bytes": made.step_bytes,
                "full_bytes": full.kept_bytes + full.step_bytes,
                "traffic_bytes": made.traffic_bytes,
                "copied_traffic_bytes": made.copied_traffic_bytes,
                "seconds": made.seconds(here),
                "full_seconds": full.seconds(here),
            }
        )
    print(machine.write("partial_fc", result))
    return None


if __name__ == "__main__":
    main()
