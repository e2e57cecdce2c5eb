"""The rows of a split's file, read through `datasets`, mapped into memory: pictures' bytes and labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.core.errors import MissingExtra, printable
from mien.data.registry import DamagedSet

_BATCH = 256


@dataclass(frozen=True, eq=False)
class Rows:
    """A split's rows as stored.

    Attributes:
        file: the Parquet file.
        dataset: the `datasets.Dataset` of it, for whoever needs more than is offered here.
    """

    file: Path
    dataset: Any

    @classmethod
    def open(cls, file: Path, folder: Path) -> Rows:
        """Open a split's file.

        Args:
            file: the Parquet file.
            folder: where `datasets` may lay down what it maps into memory: the rows once more, uncompressed.

        Raises:
            DamagedSet: it is no Parquet file, or has no column of pictures.
            MissingExtra: the lab's packages are not installed.
        """
        try:
            import datasets
        except ImportError as error:
            raise MissingExtra("datasets", "lab") from error
        return cls(file, _opened(datasets, file, folder))

    def __len__(self) -> int:
        return len(self.dataset)

    def pictures(self) -> Iterator[tuple[str, bytes]]:
        """Yield each row's name and picture file, in order."""
        for batch in self.dataset.select_columns(["image"]).with_format("arrow").iter(batch_size=_BATCH):
            for number, image in enumerate(batch["image"].to_pylist()):
                yield image["path"] or str(number), image["bytes"] or b""

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """Return the label columns, and the pictures' names as `path`.

        Returns:
            arrays of n rows: numbers and bools in the type that they are stored in, (n, k) for lists of k,
            text as NumPy's unicode.

        Raises:
            DamagedSet: a row lacks a value.
        """
        from pyarrow import compute

        table = self.dataset.data
        found = {"path": compute.struct_field(table.column("image"), "path").fill_null("")}
        found |= {name: table.column(name) for name in self.dataset.column_names if name != "image"}
        return {name: self._array(name, column) for name, column in found.items()}

    def _array(self, name: str, column: Any) -> npt.NDArray[Any]:
        from pyarrow import types

        if column.null_count:
            raise DamagedSet(f"{printable(self.file)}: {column.null_count} rows have no {name!r}")
        if types.is_string(column.type) or types.is_large_string(column.type):
            return np.array(column.to_pylist(), np.str_)
        if (
            types.is_list(column.type)
            or types.is_large_list(column.type)
            or types.is_fixed_size_list(column.type)
        ):
            return np.array(column.to_pylist(), column.type.value_type.to_pandas_dtype())
        return np.asarray(column.to_numpy())


def _opened(datasets: Any, file: Path, folder: Path) -> Any:
    shown = datasets.utils.are_progress_bars_disabled()
    datasets.utils.disable_progress_bars()
    try:
        dataset = datasets.Dataset.from_parquet(str(file), cache_dir=str(folder))
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        cause = error.__cause__ or error
        raise DamagedSet(
            f"{printable(file)}: cannot read it: {' '.join(str(cause).split())[:200]}"
        ) from error
    finally:
        if not shown:
            datasets.utils.enable_progress_bars()
    if "image" not in dataset.column_names:
        raise DamagedSet(f"{printable(file)}: has no column `image` {{bytes, path}}")
    # Left encoded: what a picture is, is for mien to say.
    return dataset.cast_column("image", datasets.Image(decode=False))
