"""Ranks the faces of a folder by their likeness to the face of one picture.

python examples/find_person.py photo.jpg photos/
"""

from __future__ import annotations

import sys

import mien
from mien.runtime.verify import largest


def main(wanted: str, folder: str) -> None:
    """Print similarity, picture and box of the ten likest faces."""
    known = largest(mien.analyze(wanted, want=["embeddings"])).embeddings
    assert known is not None
    found = []
    for result in mien.stream(folder, want=["embeddings"]):
        if result.error is not None:
            print(result.error, file=sys.stderr)
            continue
        for face in result.faces:
            assert face.embeddings is not None
            found.append(
                (float(face.embeddings[0] @ known[0]), result.source, face.boxes[0].round().tolist())
            )
    for similarity, source, box in sorted(found, reverse=True)[:10]:
        print(f"{similarity:6.3f}  {source}  {box}")


if __name__ == "__main__":
    main(*sys.argv[1:])
