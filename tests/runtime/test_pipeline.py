from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from mien.runtime.pipeline import Pipeline


def test_a_picture_that_was_decoded_small_has_its_faces_where_its_file_has_them(
    pipeline: Pipeline, astronaut: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    wide = Image.new("RGB", (4000, 3000), (90, 120, 80))
    # below the height from which a file would be read again at full size
    wide.paste(Image.fromarray(astronaut), (2400, 900))
    wide.save(tmp_path / "a.jpg", quality=92)
    small = pipeline.read(tmp_path / "a.jpg")
    assert small.scale < 0.6
    expected, found = pipeline.analyze(tmp_path / "a.jpg"), pipeline.analyze(small)
    assert found.picture_size == expected.picture_size == (4000, 3000)
    assert found.boxes == pytest.approx(expected.boxes, abs=4)
    assert found.mesh is not None
    assert expected.mesh is not None
    assert found.mesh[..., :2] == pytest.approx(expected.mesh[..., :2], abs=12)
