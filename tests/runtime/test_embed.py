"""Many pictures embedded at once are what `analyze` gives of each one."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
from PIL import Image

from mien.runtime.embed import embed
from mien.runtime.pipeline import Options, Pipeline
from mien.runtime.verify import largest


def test_rows_are_the_largest_faces_and_zeros_where_there_is_none(shared_data: Path) -> None:
    table = parquet.read_table(shared_data / "lfw_pairs" / "images.parquet", columns=["image"]).slice(0, 2)
    first, second = (
        np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB")) for row in table.to_pylist()
    )
    grey = np.full_like(first, 128)
    pipeline = Pipeline(Options(want=("embeddings",), threads=1))
    told: list[int] = []
    rows = embed([first, grey, second, b"no picture"], pipeline, threads=1, progress=told.append)
    for row, picture in ((rows[0], first), (rows[2], second)):
        assert row == pytest.approx(largest(pipeline.analyze(picture)).embeddings[0], abs=1e-5)  # type: ignore[index]
    assert not rows[[1, 3]].any()
    assert told == [1, 2, 3, 4]
    assert embed(grey[None], pipeline).shape == rows[:1].shape
    assert embed([], pipeline).shape == (0, rows.shape[1])
