"""`stream` over Ray Data: the same results in the same order, computed by many processes or machines."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import socket
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mien.core.errors import MienError, MissingExtra, UnreadablePicture, WorkerFault
from mien.core.faces import Faces
from mien.runtime.pipeline import Options, Pipeline
from mien.runtime.stream import Result, available_cores, chunked, result_of, sources
from mien.runtime.video import is_video

if TYPE_CHECKING:
    import pyarrow

LOCAL = "ray"
"""Where to run when no cluster is meant: the one of RAY_ADDRESS, or else a Ray of this machine."""

# Pictures in one piece of work: enough that Ray's own cost a piece (some ms) does not show, few enough that
# what a dying worker takes with it is soon done again.
_CHUNK = 8
# Ray keeps a task for each block; beyond this many a block holds several pieces of work.
_MOST_BLOCKS = 2000
# How long a cluster may take to answer the first time, seconds.
_PATIENCE = 10
# A picture that has cost this many workers their lives, all by itself, is at fault.
_MOST_DEATHS = 2


def stream_on_ray(
    given: Any, on: str, options: Options | None = None, *, pipeline: Pipeline | None = None
) -> Iterator[Result]:
    """Find and describe the faces of many pictures on a Ray cluster; what `stream(..., on=...)` runs.

    Each worker is a process with a `Pipeline` of its own on one core. A worker that dies is replaced and its
    work done again, picture by picture, so that one of which workers die becomes an error like any other.
    Sources travel as they are given: a path is opened by the worker, so that files must lie where every
    worker sees them; bytes and arrays travel whole.

    Args:
        given: as for `stream`, but no video. The sources (not the pictures) are listed before the
            work begins.
        on: "ray" (the cluster of RAY_ADDRESS, or else a Ray of this machine for as long as this lasts), or a
            cluster's address, "HOST:6379", from a machine that belongs to it. A Ray that the program has
            already connected to is used as it is.
        options: what to do; `threads` is the number of workers (0: one for each core of the cluster).
        pipeline: one whose options are used, and with whose models the workers' must agree.

    Yields:
        One result a picture, in order.

    Raises:
        MissingExtra: Ray is not installed.
        WorkerFault: no cluster answers; a worker lacks a model, or has others than the rest.
        ValueError: a video is given.
    """
    options = options or (pipeline.options if pipeline else Options())
    chunks = list(chunked(_no_videos(given), lambda chunk: len(chunk) >= _CHUNK))
    if not chunks:
        return
    contract = pipeline.contract if pipeline else ""
    with _connected(on, options.threads) as cores:
        for done in _computed(chunks, replace(options, threads=1), options.threads or cores):
            worker, fault, its_contract, results = done
            if fault:
                raise WorkerFault(worker, fault)
            contract = contract or its_contract
            if its_contract != contract:
                raise WorkerFault(
                    worker,
                    "other models, or another mien, than the rest: run `mien models get --all` on each "
                    "machine",
                )
            yield from results


def _no_videos(given: Any) -> Iterator[Any]:
    for source in sources(given):
        if is_video(source):
            raise ValueError(f"{source}: a video's frames follow each other; leave out `on` for it")
        yield source


@contextlib.contextmanager
def _connected(on: str, workers: int) -> Iterator[int]:
    """Connect to the cluster, or start one that ends with the block; give its number of cores."""
    # Ray reports its use to its makers unless told otherwise; what faces are looked at is nobody's business.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Its core writes what it notices of actors straight to standard error, where the command's own lines go.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import pyarrow  # noqa: F401
        import ray
    except ImportError as error:
        raise MissingExtra("ray[data]", "scale") from error
    ours = not ray.is_initialized()
    if ours:
        address = os.environ.get("RAY_ADDRESS", "local") if on == LOCAL else on
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if address == "local":
            quiet |= {"include_dashboard": False, "num_cpus": workers or available_cores()}
        _reach(address)
        try:
            ray.init(address, **quiet)
        except (ConnectionError, ValueError, TimeoutError, RuntimeError) as error:
            raise WorkerFault(
                on,
                f"no Ray cluster answers there ({' '.join(str(error).split())[:200]}); is `ray start` run?",
            ) from error
    try:
        yield max(1, int(ray.cluster_resources().get("CPU", 1)))  # type: ignore[no-untyped-call]
    finally:
        if ours:
            ray.shutdown()


def _reach(address: str) -> None:
    """See whether a cluster's address can be used: Ray itself tries for minutes.

    Raises:
        WorkerFault: nobody listens there, or it is one for Ray's client, which Ray Data does not run through.
    """
    if address.startswith("ray://"):
        raise WorkerFault(
            address,
            "Ray Data does not run through Ray's client; on a machine of the cluster give HOST:6379, or hand "
            "the command in with `ray job submit`",
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        return  # "local", "auto", and what Ray may know besides
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise WorkerFault(address, f"no Ray cluster answers there ({error}); is `ray start` run?") from error


def _computed(
    chunks: Sequence[list[Any]], options: Options, workers: int
) -> Iterator[tuple[str, str, str, list[Result]]]:
    """Yield what the workers made of each chunk: worker's name, its fault, its contract, the results."""
    import ray
    import ray.data
    from ray import cloudpickle
    from ray.data import ActorPoolStrategy, DataContext

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = DataContext.get_current()
    kept = context.execution_options.preserve_order, context.enable_progress_bars
    context.execution_options.preserve_order, context.enable_progress_bars = True, False
    try:
        folder = os.getcwd()  # noqa: PTH109 - as `os.path.join` needs it, which keeps names that are no UTF-8
        pieces = [
            {"work": cloudpickle.dumps((number, folder, chunk))}  # type: ignore[no-untyped-call]
            for number, chunk in enumerate(chunks)
        ]
        work = ray.data.from_items(pieces, override_num_blocks=min(len(pieces), _MOST_BLOCKS))
        attempts: Any = ray.remote(_Attempts).options(num_cpus=0).remote()
        done = work.map_batches(
            _Worker,
            fn_constructor_args=(options, attempts),
            batch_size=1,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(size=min(workers, len(pieces))),
            num_cpus=1,
        )
        for batch in done.iter_batches(batch_size=None, batch_format="pyarrow"):
            for value in batch["done"]:
                # from our own workers, whose code this process has sent them
                yield pickle.loads(value.as_py())  # noqa: S301
    finally:
        context.execution_options.preserve_order, context.enable_progress_bars = kept


class _Worker:
    """An actor of Ray Data: takes pieces of work, gives what `_computed` yields."""

    def __init__(self, options: Options, attempts: Any) -> None:
        self._options = options
        self._attempts = attempts
        self._pipeline: Pipeline | None = None

    def __call__(self, batch: pyarrow.Table) -> pyarrow.Table:
        import pyarrow

        done = [pickle.dumps(self._one(piece.as_py())) for piece in batch["work"]]
        return pyarrow.table({"done": pyarrow.array(done, pyarrow.large_binary())})

    def _one(self, piece: bytes) -> tuple[str, str, str, list[Result]]:
        here = f"the worker {socket.gethostname()}"
        try:
            # Errors are told and not raised: Ray would take them for crashes and try again. For the same
            # reason the models are not loaded in the constructor.
            pipeline = self._pipeline = self._pipeline or Pipeline(self._options)
            return here, "", pipeline.contract, self._results(pipeline, piece)
        except MienError as error:
            return here, f"{error} there", "", []
        except Exception as error:
            return here, "".join(traceback.format_exception(error)), "", []

    def _results(self, pipeline: Pipeline, piece: bytes) -> list[Result]:
        number, folder, given = pickle.loads(piece)  # noqa: S301 - from the program that began us
        work = [_found_from(folder, source) for source in given]
        if self._tries(number) == 1:
            outcomes = pipeline.analyze_many(work)
        else:
            # A worker died on this piece. In case that a picture of it was the reason, its neighbours
            # shall not suffer.
            outcomes = [self._alone(pipeline, (number, place), source) for place, source in enumerate(work)]
        return list(map(_named_as, given, map(result_of, outcomes)))

    def _alone(self, pipeline: Pipeline, key: tuple[int, int], source: Any) -> Faces | UnreadablePicture:
        if self._tries(key) > _MOST_DEATHS:
            return UnreadablePicture(str(source), f"{_MOST_DEATHS} workers died of it")
        outcome = pipeline.analyze_many([source])[0]
        self._attempts.forget.remote(key)
        return outcome

    def _tries(self, key: int | tuple[int, int]) -> int:
        import ray

        return int(ray.get(self._attempts.begin.remote(key)))


class _Attempts:
    """An actor that outlives the workers and counts how often each piece of work was begun."""

    def __init__(self) -> None:
        self._counts: Counter[int | tuple[int, int]] = Counter()

    def begin(self, key: int | tuple[int, int]) -> int:
        self._counts[key] += 1
        return self._counts[key]

    def forget(self, key: int | tuple[int, int]) -> None:
        del self._counts[key]


def _found_from(folder: str, source: Any) -> Any:
    """Return a path that leads to the same file from any current folder; anything else as it is."""
    if not isinstance(source, (str, os.PathLike)):
        return source
    return os.path.join(folder, os.fspath(source))  # noqa: PTH118 - names of bytes that are no UTF-8


def _named_as(source: Any, result: Result) -> Result:
    """Return a result under the name by which the caller knows the picture."""
    if not isinstance(source, (str, os.PathLike)):
        return result
    name = os.fsdecode(source)
    error = result.error and UnreadablePicture(name, result.error.reason)
    return replace(result, source=name, faces=replace(result.faces, source=name), error=error)
