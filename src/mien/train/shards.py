"""Keeps tables that are spread over processes on disk, to go on from with another number of processes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch.distributed as processes
from torch import Tensor
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor
from torch.distributed.tensor import Shard as ByRows

from mien.nn.partial import Shard


def save_shards(folder: Path, tables: Mapping[str, Tensor], shard: Shard) -> None:
    """Write tables, each process its own rows, as a folder of safetensors files; all processes must call.

    The folder is complete or absent: while it is written it ends in ".part".

    Args:
        folder: that is made, the same in every process.
        tables: (count, ...) rows of each, by name; such as the centres and their momentum.
        shard: which rows these are.

    Raises:
        FileExistsError: there is such a folder.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} is there already: a checkpoint gets a folder of its own")
    part = folder.with_name(f"{folder.name}.part")
    writer = HuggingFaceStorageWriter(str(part), save_distributed=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        save(_spread(tables, shard), storage_writer=writer, no_dist=shard.ranks == 1)
    # `save` returns when every process has written.
    if shard.rank == 0:
        part.rename(folder)
    if shard.ranks > 1:
        processes.barrier()


def load_shards(folder: Path, tables: Mapping[str, Tensor], shard: Shard) -> None:
    """Fill tables with their rows, whatever number of processes wrote them; all processes must call.

    Args:
        folder: that `save_shards` made.
        tables: (count, ...) to be filled, by name.
        shard: which rows they are.
    """
    reader = HuggingFaceStorageReader(str(folder))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        load(_spread(tables, shard), storage_reader=reader, no_dist=shard.ranks == 1)


def _spread(tables: Mapping[str, Tensor], shard: Shard) -> dict[str, Any]:
    """Return tables as torch.distributed's checkpoints know them: parts that know their whole."""
    if shard.ranks == 1:
        return {name: table.detach() for name, table in tables.items()}
    made: dict[str, Any] = {}
    for name, table in tables.items():
        mesh = init_device_mesh(table.device.type, (shard.ranks,))
        made[name] = DTensor.from_local(
            table.detach(),
            mesh,
            [ByRows(0)],
            shape=table.new_empty(()).expand(shard.rows, *table.shape[1:]).shape,
            stride=table.stride(),
        )
    return made
