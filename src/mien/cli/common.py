"""What every command shares: inputs, options of the pipeline, progress, errors and exit codes."""

from __future__ import annotations

import errno
import functools
import json
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, ParamSpec, TypeVar

import typer

from mien.core.errors import MienError, UnwritableOutput, printable

if TYPE_CHECKING:
    from rich.progress import Progress

    from mien.runtime.pipeline import Options, Pipeline

OK, SOME_FAILED, USAGE = 0, 1, 2
"""Exit codes: all went well; some inputs failed; the command was called wrongly or cannot work here."""

_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)

P = ParamSpec("P")
R = TypeVar("R")

Inputs = Annotated[list[Path], typer.Argument(help="Pictures and folders.", show_default=False)]
Models = Annotated[
    list[str] | None,
    typer.Option("--model", "-m", help="Use this model (name or .onnx) for what it makes; may be repeated."),
]
Want = Annotated[
    list[str] | None,
    typer.Option(
        "--want", "-w", help="Fields to make, comma-separated or repeated; all that the models here make."
    ),
]
Terms = Annotated[
    str,
    typer.Option(
        "--terms",
        help="'permissive' keeps to models whose card allows commercial use.",
        metavar="any|permissive",
    ),
]
Threads = Annotated[int, typer.Option("--threads", "-t", help="Worker threads; 0 takes all cores.", min=0)]
Smallest = Annotated[
    float, typer.Option("--smallest", help="Height in px of the smallest face to look for; 0 chooses.", min=0)
]
Mirror = Annotated[
    bool, typer.Option("--mirror", help="Add the mirrored face to each embedding: slower, more accurate.")
]
Format = Annotated[
    str,
    typer.Option(
        "--format",
        help="Write -o as that program does: its columns, units and box order.",
        metavar="openface|pyfeat|coco|compreface|deepface",
    ),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="No notes and no progress bar; errors are still told.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def options_from(
    want: Iterable[str] | None,
    models: Iterable[str] | None,
    terms: str,
    threads: int,
    smallest: float = 0.0,
    mirror: bool = False,
) -> Options:
    """Return the pipeline's options from the command line's."""
    from mien.runtime.detect import Search
    from mien.runtime.pipeline import Options

    if terms not in ("any", "permissive"):
        fail(f"--terms {terms!r}: use 'any' or 'permissive'")
    fields = tuple(part for item in want or () for part in item.split(",") if part) or None
    return Options(
        want=fields,
        models=tuple(models or ()),
        terms=terms,
        threads=threads,
        search=Search(smallest=smallest),
        mirror=mirror,
    )


def check_format(name: str, output: Path | None) -> None:
    """Leave with an error unless the output can be a file of the format; no name is mien's own tables."""
    if not name:
        return
    from mien.report import formats

    if output is None:
        fail(f"--format {name}: say into which file with -o")
    try:
        formats.check(name, output)
    except UnwritableOutput as error:
        fail(str(error))


def pictures_in(inputs: Iterable[Path]) -> Iterator[Path]:
    """Yield the pictures that are meant: each named file once, and those below each folder."""
    from mien.runtime.stream import walk

    seen: set[str] = set()
    for given in inputs:
        # Path.is_dir raises for names that are too long, which is for the reader to say
        for path in walk(given) if os.path.isdir(given) else [given]:  # noqa: PTH112
            key = os.path.abspath(path)  # noqa: PTH100 - Path.resolve would follow links and fail on loops
            if key not in seen:
                seen.add(key)
                yield path


def progress(*, quiet: bool = False) -> Progress:
    """Return a progress bar with the time left, on standard error; silent when that is no terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=quiet or not console.is_terminal,
    )


@contextmanager
def until_stopped() -> Iterator[threading.Event]:
    """Give an event that Ctrl-C sets, or an end by the system, instead of stopping: what runs ends in order.

    A second Ctrl-C stops at once.
    """
    stop = threading.Event()
    signals = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if sys.platform != "win32" else [])]
    before = {number: signal.getsignal(number) for number in signals}

    def end(number: int, _: object) -> None:
        stop.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in signals:
        signal.signal(number, end)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def say(text: str) -> None:
    """Print a line for people on standard error, so that standard output stays for results."""
    print(text, file=sys.stderr)  # noqa: T201


def out(text: str) -> None:
    """Print a result on standard output, at once: what reads it may be waiting, or be gone.

    Names of files may hold bytes that are no UTF-8, and a terminal may know few letters: both are escaped.
    """
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    sys.stdout.flush()


def out_json(value: Any) -> None:
    """Print a result as JSON."""
    out(json.dumps(value, ensure_ascii=False, indent=1))


def tell_terms(pipeline: Pipeline) -> None:
    """Say in one line which models of a run are not for commercial use, or were left out for that."""
    for cards, about, advice in (
        (pipeline.research_only(), "not for commercial use", ". --terms permissive leaves these models out"),
        (pipeline.left_out(), "left out by --terms permissive", ""),
    ):
        if cards:
            names = "; ".join(f"{card.maker} ({', '.join(card.fields).replace('_', ' ')})" for card in cards)
            say(f"{about}: {names}{advice}")


def fail(text: str, code: int = USAGE) -> NoReturn:
    """Print an error and leave."""
    say(f"mien: {text}")
    raise typer.Exit(code)


def guarded(command: Callable[P, R]) -> Callable[P, R]:
    """Turn mien's errors, a full disk and Ctrl-C inside a command into one clear line and an exit code."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        # What Pillow warns of in odd files is either an error of that picture's row or nothing to a user.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        try:
            return command(*args, **kwargs)
        except MienError as error:
            fail(str(error), SOME_FAILED if isinstance(error, UnwritableOutput) else USAGE)
        except KeyboardInterrupt:
            fail("stopped; what was finished is kept, the same command goes on from there", 130)
        except BrokenPipeError:
            # The reader of our output has gone (`mien ... | head`): nothing is left to say to it.
            _leave_standard_output()
            raise typer.Exit(OK) from None
        except OSError as error:
            if error.errno in _UNWRITABLE:
                if not error.filename:
                    _leave_standard_output()
                name = printable(error.filename) if error.filename else "the output"
                fail(f"cannot write {name}: {error.strerror}", SOME_FAILED)
            raise

    return run


def _leave_standard_output() -> None:
    """Send what Python still holds for standard output nowhere, or it would complain when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
