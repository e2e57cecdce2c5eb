"""The tables of a gallery in SQLite, version by version."""

from __future__ import annotations

APPLICATION = 0x6D69656E
"""What SQLite's header says of whose file it is: "mien"."""

# Numbers of faces and people are never given twice (AUTOINCREMENT): an index that lacks a removal must not
# show somebody else under a number that it knows.
_FIRST = (
    """CREATE TABLE state (
        only INTEGER PRIMARY KEY CHECK (only = 1),
        gallery BLOB NOT NULL,              -- 16 random bytes: which gallery an index belongs to
        changes INTEGER NOT NULL,           -- grows with every write
        removals INTEGER NOT NULL,          -- grows when embeddings go or change
        unswept INTEGER NOT NULL            -- 1: somebody was forgotten and the free space is not yet clean
    )""",
    """CREATE TABLE recognisers (
        contract TEXT PRIMARY KEY,
        model TEXT NOT NULL,
        version TEXT NOT NULL,
        size INTEGER NOT NULL,
        mirrored INTEGER NOT NULL,
        card TEXT                           -- JSON as the model has it, with its thresholds
    )""",
    """CREATE TABLE pictures (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        sha256 BLOB UNIQUE,                 -- of the file; NULL where faces came without it
        size INTEGER NOT NULL,              -- bytes of the file
        width INTEGER NOT NULL,             -- px, upright
        height INTEGER NOT NULL,
        pathless INTEGER NOT NULL DEFAULT 0, -- 1: somebody was forgotten who was on it, no path of it is kept
        added TEXT NOT NULL                 -- UTC, ISO 8601
    )""",
    """CREATE TABLE paths (
        path BLOB PRIMARY KEY,              -- bytes: names of files need not be UTF-8
        picture INTEGER NOT NULL REFERENCES pictures ON DELETE CASCADE,
        size INTEGER NOT NULL,              -- of the file when it was read, with the next line
        modified INTEGER NOT NULL           -- ns: unchanged ones need not be read again
    )""",
    "CREATE INDEX paths_of_picture ON paths (picture)",
    """CREATE TABLE people (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT,                          -- NULL: somebody whose name is not known yet
        sameness TEXT UNIQUE                -- the name as it is compared: without regard to case
    )""",
    """CREATE TABLE provenance (
        id INTEGER PRIMARY KEY,
        makers TEXT NOT NULL UNIQUE         -- JSON: models of all fields, labels, mien's version
    )""",
    """CREATE TABLE faces (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        picture INTEGER NOT NULL REFERENCES pictures ON DELETE CASCADE,
        person INTEGER REFERENCES people ON DELETE SET NULL,
        provenance INTEGER NOT NULL REFERENCES provenance,
        faults TEXT NOT NULL,               -- why it names nobody else, comma-separated; '' is a good face
        x1 REAL NOT NULL, y1 REAL NOT NULL, x2 REAL NOT NULL, y2 REAL NOT NULL,
        score REAL NOT NULL
    )""",
    "CREATE INDEX faces_of_picture ON faces (picture)",
    "CREATE INDEX faces_of_person ON faces (person)",
    # Float32, not the byte codes of mien.core.codes: thresholds were measured on floats, a picture may be
    # gone when better codes come, and beside it 512 bytes weigh nothing. Codes belong to an index.
    """CREATE TABLE embeddings (
        face INTEGER PRIMARY KEY REFERENCES faces ON DELETE CASCADE,
        contract TEXT NOT NULL REFERENCES recognisers,
        vector BLOB NOT NULL,               -- float32, little-endian, unit length
        crc INTEGER NOT NULL                -- CRC-32 of it: SQLite would not notice a changed number
    )""",
    """CREATE TABLE moving (                -- embeddings of the recogniser that the gallery is moving to
        face INTEGER PRIMARY KEY REFERENCES faces ON DELETE CASCADE,
        contract TEXT NOT NULL,
        vector BLOB NOT NULL,
        crc INTEGER NOT NULL
    )""",
    """CREATE TABLE fields (
        face INTEGER NOT NULL REFERENCES faces ON DELETE CASCADE,
        name TEXT NOT NULL,                 -- of mien.core.fields, without boxes, scores and embeddings
        shape TEXT NOT NULL,                -- such as '5,2'
        numbers BLOB NOT NULL,              -- float32, little-endian
        PRIMARY KEY (face, name)
    ) WITHOUT ROWID""",
    """CREATE TABLE thumbnails (
        face INTEGER PRIMARY KEY REFERENCES faces ON DELETE CASCADE,
        jpeg BLOB NOT NULL
    )""",
    """CREATE TABLE audit (
        id INTEGER PRIMARY KEY,
        moment TEXT NOT NULL,               -- UTC, ISO 8601
        action TEXT NOT NULL,
        faces INTEGER NOT NULL,
        pictures INTEGER NOT NULL
    )""",
    "INSERT INTO state VALUES (1, randomblob(16), 0, 0, 0)",
)

STEPS: tuple[tuple[str, ...], ...] = (_FIRST,)
"""What brings a file from each version to the next; making a gallery is going through them all.

A step is never changed once it was released; a new version is a new step.
"""
