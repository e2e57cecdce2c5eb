"""`mien gallery`: add faces, name people, find them again, forget them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli import common

if TYPE_CHECKING:
    from mien.gallery.answer import Answer
    from mien.gallery.gallery import Gallery
    from mien.gallery.records import Person

app = typer.Typer(help="People: add faces, name them, find them again, forget them.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(metavar="GALLERY", help="The gallery's file.", show_default=False)]
Who = Annotated[
    str, typer.Argument(metavar="PERSON", help="A name, or '#' and a number.", show_default=False)
]
Face = Annotated[
    list[int] | None, typer.Option("--face", help="Number of a face; may be repeated.", show_default=False)
]


def _open(file: Path, **options: Any) -> Gallery:
    from mien.gallery.gallery import Gallery

    return Gallery(file, **{"create": False, **options})


@app.command("add")
@common.guarded
def add(
    file: File,
    paths: common.Inputs,
    person: Annotated[str, typer.Option("--person", help="Whom every picture shows, as its only face.")] = "",
    model: common.Models = None,
    terms: common.Terms = "any",
    threads: common.Threads = 0,
    mirror: common.Mirror = False,
    quiet: common.Quiet = False,
    as_json: common.Json = False,
) -> None:
    """Add the faces of pictures; those that are there already are left out, a second run goes on."""
    from mien.core.errors import printable

    pictures = list(common.pictures_in(paths))
    if not pictures:
        common.fail(f"no pictures in {', '.join(printable(path) for path in paths)}")
    options = {"models": model or (), "terms": terms, "threads": threads, "mirror": mirror or None}
    with _open(file, create=True, **options) as gallery, common.progress(quiet=quiet or as_json) as bar:
        task = bar.add_task("pictures", total=len(pictures))
        added = gallery.add(pictures, person=person, progress=lambda done: bar.update(task, completed=done))
    for _, error in added.failed:
        common.say(str(error))
    if as_json:
        common.out_json(
            {
                "faces": list(added.faces),
                "pictures": added.pictures,
                "known": added.known,
                "failed": [{"path": printable(path), "reason": str(error)} for path, error in added.failed],
            }
        )
    elif not quiet:
        common.say(
            f"{added.pictures:,} pictures with {len(added.faces):,} faces added, {added.known:,} were there, "
            f"{len(added.failed):,} could not be added"
        )
    raise typer.Exit(common.SOME_FAILED if added.failed else common.OK)


@app.command("search")
@common.guarded
def search(
    file: File,
    picture: Annotated[Path, typer.Argument(help="A picture.", show_default=False)],
    k: Annotated[int, typer.Option("-k", help="How many of the nearest faces to tell of.", min=0)] = 5,
    fpir: Annotated[
        float, typer.Option("--fpir", help="Rate at which strangers may be taken for somebody, 0..1.")
    ] = 0.01,
    threshold: Annotated[
        float | None, typer.Option("--threshold", help="Decide at this similarity instead.")
    ] = None,
    model: common.Models = None,
    terms: common.Terms = "any",
    threads: common.Threads = 0,
    as_json: common.Json = False,
) -> None:
    """Tell who is on a picture, or that it is nobody. Exit code 0 either way; 1 when there is no face."""
    from mien.core.errors import UnreadablePicture, printable

    if not 0 < fpir < 1:
        common.fail(f"--fpir {fpir}: use a number between 0 and 1")
    with _open(file, models=model or (), terms=terms, threads=threads) as gallery:
        try:
            answers = gallery.search(picture, k, fpir=fpir, threshold=threshold)
        except UnreadablePicture as error:
            common.fail(str(error), common.SOME_FAILED)
    if as_json:
        common.out_json([answer.to_dict() for answer in answers])
    if not answers:
        common.fail(f"{printable(picture)}: no face was found", common.SOME_FAILED)
    if not as_json:
        for answer in answers:
            _print(answer)


def _print(answer: Answer) -> None:
    from mien.core.errors import printable

    who = {
        True: answer.name or f"#{answer.person}",
        False: "nobody",
        None: "cannot be decided: no thresholds are known for this recogniser",
    }[answer.known]
    box = "" if answer.face is None else " ".join(f"{value:.0f}" for value in answer.face.boxes[0])
    common.out(f"face at {box}: {who}")
    if answer.similarity is not None and answer.fmr is not None and answer.fpir is not None:
        limit = "" if answer.threshold is None else f", threshold {answer.threshold:.3f}"
        # Below the lowest calibrated threshold nothing is known of the rates.
        rates = (
            "less than any similarity that was calibrated"
            if answer.fmr >= 1
            else f"of strangers {100 * answer.fmr:.2g} % come as near to one face and about "
            f"{100 * answer.fpir:.2g} % to one of {answer.compared:,}"
            + (" (beyond what was measured)" if answer.beyond else "")
        )
        common.out(f"  similarity {answer.similarity:.3f}{limit}; {rates}")
    for match in answer.matches:
        name = match.name or ("nobody yet" if match.person is None else f"#{match.person}")
        common.out(f"  {match.similarity:.3f}  {name}  face {match.face}  {printable(match.path)}")


@app.command("people")
@common.guarded
def people(file: File, as_json: common.Json = False) -> None:
    """List everybody with the numbers of their faces."""
    with _open(file) as gallery:
        everybody = gallery.people()
    _tell(everybody, as_json)
    if not everybody:
        common.say("nobody has a name yet; `mien gallery name` gives one")


@app.command("name")
@common.guarded
def name(
    file: File,
    who: Annotated[str, typer.Argument(metavar="NAME", help="The name.", show_default=False)],
    face: Face = None,
    person: Annotated[
        str, typer.Option("--person", help="Rename this person: a name, or '#' and a number.")
    ] = "",
    as_json: common.Json = False,
) -> None:
    """Say whose faces these are (--face), or give a person another name (--person)."""
    if bool(face) == bool(person):
        common.fail("say which faces with --face, or who is to be renamed with --person")
    with _open(file) as gallery:
        _tell([gallery.name(face, who) if face else gallery.rename(person, who)], as_json)


@app.command("merge")
@common.guarded
def merge(
    file: File,
    people: Annotated[
        list[str], typer.Argument(metavar="PERSON...", help="Names, or '#' and numbers.", show_default=False)
    ],
    as_json: common.Json = False,
) -> None:
    """Make one person of several: the first one takes the others' faces."""
    with _open(file) as gallery:
        _tell([gallery.merge(*people)], as_json)


@app.command("split")
@common.guarded
def split(
    file: File,
    person: Who,
    face: Face = None,
    to: Annotated[str, typer.Option("--to", help="Name of whom they belong to; else nobody's yet.")] = "",
    as_json: common.Json = False,
) -> None:
    """Take faces away from a person and give them to another one."""
    with _open(file) as gallery:
        _tell([gallery.split(person, face or [], to)], as_json)


@app.command("remove")
@common.guarded
def remove(
    file: File,
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Pictures and folders to take out.", show_default=False)
    ] = None,
    face: Face = None,
    as_json: common.Json = False,
) -> None:
    """Take pictures with their faces, or single faces, out of the gallery; the files stay."""
    if not paths and not face:
        common.fail("name the pictures, or faces with --face")
    with _open(file) as gallery:
        removed = gallery.remove(pictures=paths or (), faces=face or ())
    if as_json:
        common.out_json({"faces": list(removed.faces), "pictures": removed.pictures})
    else:
        common.say(f"{removed.pictures:,} pictures and {len(removed.faces):,} faces removed")


@app.command("forget")
@common.guarded
def forget(
    file: File,
    person: Who,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: common.Json = False,
) -> None:
    """Remove a person for good: faces, embeddings, thumbnails, name, and the bytes that they left."""
    with _open(file) as gallery:
        found = gallery.person(person)
        if not yes:
            question = f"forget {found} with {len(found.faces):,} faces for good?"
            typer.confirm(question, abort=True, err=True)
        told = gallery.forget(found.id)
    if as_json:
        common.out_json({"faces": told.faces, "pictures": told.pictures, "resembling": list(told.resembling)})
        return
    common.say(f"{told.faces:,} faces and {told.pictures:,} pictures forgotten")
    if told.resembling:
        numbers = " ".join(f"--face {face}" for face in told.resembling)
        common.say(
            f"{len(told.resembling):,} faces that nobody is named for resemble them; if they are theirs: "
            f"mien gallery remove {shlex.quote(str(file))} {numbers}"
        )


@app.command("reembed")
@common.guarded
def reembed(
    file: File,
    model: common.Models = None,
    terms: common.Terms = "any",
    threads: common.Threads = 0,
    mirror: common.Mirror = False,
    drop: Annotated[
        bool, typer.Option("--drop", help="Remove faces that cannot be embedded anew, as without a picture.")
    ] = False,
    quiet: common.Quiet = False,
    as_json: common.Json = False,
) -> None:
    """Move the gallery to another recogniser, with all names. A run that is stopped goes on where it was."""
    with _open(file, threads=threads) as gallery, common.progress(quiet=quiet or as_json) as bar:
        task = bar.add_task("faces", total=None)
        moved = gallery.reembed(
            models=model or (),
            terms=terms,
            mirror=mirror,
            drop=drop,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if as_json:
        common.out_json(
            {
                "done": moved.done,
                "recogniser": moved.recogniser,
                "faces": moved.faces,
                "lost": list(moved.lost),
            }
        )
    elif moved.done and not quiet:
        common.say(f"{moved.faces:,} faces are now of {moved.recogniser}, {len(moved.lost):,} were removed")
    if not moved.done:
        common.fail(
            f"{file}: still of {moved.recogniser}: {len(moved.lost):,} faces cannot be embedded anew: "
            "their picture is gone or has changed, or they are not found in it again; --drop removes them",
            common.SOME_FAILED,
        )


@app.command("export")
@common.guarded
def export(
    file: File,
    target: Annotated[Path, typer.Argument(help="The .jsonl file to write.", show_default=False)],
    embeddings: Annotated[
        bool, typer.Option("--embeddings/--no-embeddings", help="Write the embeddings, too.")
    ] = True,
    as_json: common.Json = False,
) -> None:
    """Write every face as a line of JSON; of a damaged gallery what can still be read."""
    with _open(file) as gallery:
        told = gallery.export(target, embeddings=embeddings)
    if as_json:
        common.out_json({"faces": told.faces, "lost": list(told.lost), "path": str(target)})
    else:
        common.say(f"{told.faces:,} faces: {target}")
        if told.lost:
            common.say(f"{len(told.lost):,} could not be read, for the gallery is damaged")
    raise typer.Exit(common.SOME_FAILED if told.lost else common.OK)


@app.command("stats")
@common.guarded
def stats(
    file: File,
    check: Annotated[
        bool, typer.Option("--check", help="Look at every page and embedding for damage.")
    ] = False,
    as_json: common.Json = False,
) -> None:
    """Tell what the gallery holds; with --check, exit code 1 when it is damaged."""
    with _open(file) as gallery:
        told = gallery.stats(check=check)
    faults = told.get("faults", [])
    if as_json:
        common.out_json(told)
    else:
        for key, value in told.items():
            if key not in ("audit", "faults"):
                common.out(f"{key.replace('_', ' ')}: {value}")
        for line in told["audit"]:
            common.out(
                f"{line['moment']} {line['action']}: {line['faces']} faces, {line['pictures']} pictures"
            )
        if check:
            common.out("intact" if not faults else "damaged: " + "; ".join(faults))
    raise typer.Exit(common.SOME_FAILED if faults else common.OK)


def _tell(people: Iterable[Person], as_json: bool) -> None:
    rows = [
        {"id": one.id, "name": one.name, "faces": list(one.faces), "pictures": one.pictures} for one in people
    ]
    if as_json:
        common.out_json(rows)
        return
    for one in people:
        numbers = " ".join(map(str, one.faces[:10])) + (" ..." if len(one.faces) > 10 else "")
        number = f" (#{one.id})" if one.name else ""
        common.out(f"{one}{number}: {len(one.faces):,} faces on {one.pictures:,} pictures: {numbers}")
