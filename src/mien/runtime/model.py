"""`Model`: an ONNX file with its card, ready to run; any number of threads may call it at once."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.core import card as cards
from mien.core.card import Card
from mien.core.errors import CardError
from mien.core.fields import FIELDS, Floats, Kind

if TYPE_CHECKING:
    import onnxruntime

# What a field's tensor looks like: the sizes behind the first axis; None is any size.
_TAILS: Mapping[Kind, tuple[tuple[int | None, ...], ...]] = {
    Kind.BOX: ((4,),),
    Kind.SCALAR: ((), (1,)),
    Kind.POINTS: ((None, 2), (None, 3)),
    Kind.PROBABILITIES: ((None,),),
    Kind.VALUES: ((None,),),
    Kind.EMBEDDING: ((None,),),
}


@dataclass(frozen=True, eq=False)
class Model:
    """A loaded model.

    Attributes:
        card: what it makes, needs and takes.
        session: the onnxruntime session; its `run` is safe from many threads.
        batch: how many faces one call takes; 0 is any number.
    """

    card: Card
    session: onnxruntime.InferenceSession
    batch: int

    @classmethod
    def load(cls, model: str | os.PathLike[str] | bytes, *, threads: int = 0) -> Model:
        """Load a model by its name (see `mien models`), or from a path or bytes of an ONNX file with a card.

        Args:
            model: an installed model's name, a path that ends in .onnx, or bytes.
            threads: threads that one call may use; 0 lets onnxruntime take all cores.

        Raises:
            ModelMissing: no model of this name is on this machine.
            DamagedModel: its bytes are not the ones that were installed.
            CardError: the file has no card, or one that does not fit it.
        """
        if isinstance(model, bytes):
            return cls._open(model, "<bytes>", threads)
        if isinstance(model, str) and not model.endswith(".onnx"):
            from mien.runtime import assets

            # Changed weights mostly load and give wrong numbers; asking costs 20 ms for all default models.
            assets.verify(model)
            return cls._open(str(assets.model_path(model)), model, threads)
        path = Path(model)
        if not path.is_file():
            raise CardError(str(path), "no such file")
        return cls._open(str(path), str(path), threads)

    @classmethod
    def _open(cls, model: str | bytes, where: str, threads: int) -> Model:
        session = open_session(model, where, threads)
        card = cards.from_metadata(session.get_modelmeta().custom_metadata_map, where)
        batch = _check(session, card, where)
        return cls(card, session, batch)

    def run(self, crops: Floats) -> dict[str, Floats]:
        """Run the model.

        Args:
            crops: (n, 3 or 1, H, W) float32 0..255.

        Returns:
            Each output by its field's name, as the graph gives it; numbers are float32.
        """
        names = list(self.card.fields)
        if self.batch and len(crops) != self.batch and self.card.crop is not None:
            return self._run_in_parts(crops)
        values = self.session.run(names, {"input": crops})
        return {name: np.asarray(value, np.float32) for name, value in zip(names, values, strict=True)}

    def _run_in_parts(self, crops: Floats) -> dict[str, Floats]:
        parts = []
        for start in range(0, len(crops), self.batch):
            part = crops[start : start + self.batch]
            lack = self.batch - len(part)
            filled = np.concatenate([part, np.zeros((lack, *part.shape[1:]), part.dtype)]) if lack else part
            values = self.session.run(list(self.card.fields), {"input": filled})
            parts.append([np.asarray(value, np.float32)[: len(part)] for value in values])
        return {
            name: np.concatenate(column)
            for name, column in zip(self.card.fields, zip(*parts, strict=True), strict=True)
        }

    def empty(self, field: str) -> Floats:
        """Return the field for no faces, with the sizes behind the first axis that this model would give."""
        shape = next(out.shape for out in self.session.get_outputs() if out.name == field)
        tail = [size if isinstance(size, int) else 0 for size in shape[1:]]
        if FIELDS[field].kind is Kind.SCALAR:
            tail = []
        return np.zeros((0, *tail), np.float32)


def open_session(model: str | bytes, where: str, threads: int) -> onnxruntime.InferenceSession:
    """Open an onnxruntime session on the CPU.

    Raises:
        CardError: onnxruntime cannot load the file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Idle threads must sleep: several sessions share the cores, and spinning ones would take them from each
    # other.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Sizes differ from call to call; remembering a plan for each would make memory grow with the pictures
    # seen.
    options.enable_mem_pattern = False
    if _one_arena():
        options.add_session_config_entry("session.use_env_allocators", "1")
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no common base that it exports
        text = " ".join(str(error).split())
        raise CardError(where, f"onnxruntime cannot load it: {text[:300]}") from error


@functools.cache
def _one_arena() -> bool:
    """Make all sessions of the process share one arena that grows by what is asked; tell whether they can.

    With an arena each, which doubles when it grows, memory goes on rising for hundreds of pictures
    of many sizes.
    """
    import onnxruntime

    place = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    as_requested = {"max_mem": 0, "arena_extend_strategy": 1, "initial_chunk_size_bytes": -1}
    settings = onnxruntime.OrtArenaCfg({**as_requested, "max_dead_bytes_per_chunk": -1})
    try:
        onnxruntime.create_and_register_allocator(place, settings)
    except Exception:  # the program has registered an allocator of its own, which then serves
        return False
    return True


def check_contract(model: bytes, card: Card) -> None:
    """Check that a graph takes and gives what its card says, by its declared shapes and by one run.

    Args:
        model: an ONNX file's bytes.
        card: its card.

    Raises:
        CardError: with the first thing that does not fit.
    """
    session = open_session(model, card.name, 1)
    batch = _check(session, card, card.name)
    faces = batch or 2
    wide, high = (card.crop.width, card.crop.height) if card.crop else (card.input.width, card.input.height)
    if card.crop is None:
        faces = 1
        wide, high = wide or 4 * card.input.stride, high or 4 * card.input.stride
    # Mid-grey with a weak ramp: some graphs divide by the spread of their input.
    ramp = np.linspace(96, 160, high * wide, dtype=np.float32).reshape(1, 1, high, wide)
    crops = np.ascontiguousarray(np.broadcast_to(ramp, (faces, 1 if card.input.grey else 3, high, wide)))
    try:
        values = Model(card, session, batch).run(crops)
    except Exception as error:
        text = " ".join(str(error).split())
        raise CardError(
            card.name, f"the graph does not run on the input that the card says: {text[:300]}"
        ) from error
    for name, value in values.items():
        if not np.isfinite(value).all():
            raise CardError(card.name, f"the output {name!r} is not finite on a plain grey input")
        if card.crop is not None and len(value) != faces:
            raise CardError(card.name, f"the output {name!r} has {len(value)} rows for {faces} faces")
        kind = FIELDS[name].kind
        if kind in (Kind.PROBABILITIES,) and (
            value.min() < -1e-3 or abs(float(value.sum(axis=1).mean()) - 1) > 1e-2
        ):
            raise CardError(
                card.name, f"the output {name!r} is no set of probabilities; is the softmax in the graph?"
            )
        labels = next(out.labels for out in card.makes if out.field == name) or FIELDS[name].labels
        if labels and kind in (Kind.PROBABILITIES, Kind.VALUES) and value.shape[1] != len(labels):
            raise CardError(
                card.name, f"the output {name!r} has {value.shape[1]} columns for {len(labels)} labels"
            )


def _check(session: Any, card: Card, where: str) -> int:
    """Check declared names and shapes; return the batch size the graph is fixed to, 0 for any."""
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].name != "input":
        found = ", ".join(f"{i.name} {i.shape}" for i in inputs)
        raise CardError(
            where, f"must have one input named 'input', has: {found}; does the card name the right adapter?"
        )
    shape = inputs[0].shape
    if len(shape) != 4 or inputs[0].type != "tensor(float)":
        raise CardError(where, f"the input must be float32 (n, c, h, w), not {inputs[0].type} {shape}")
    wide, high = (card.crop.width, card.crop.height) if card.crop else (card.input.width, card.input.height)
    wanted = (None, 1 if card.input.grey else 3, high or None, wide or None)
    for axis, (has, want) in enumerate(zip(shape, wanted, strict=True)):
        if isinstance(has, int) and want is not None and has != want:
            raise CardError(where, f"the card says {want} for axis {axis} of the input, the graph has {has}")
        if isinstance(has, int) and want is None and axis >= 2:
            raise CardError(where, f"the card says any size, but the graph's input is fixed to {shape}")
    outputs = {out.name: out.shape for out in session.get_outputs()}
    for name in card.fields:
        if name not in outputs:
            raise CardError(where, f"no output named {name!r}; the graph has {', '.join(outputs)}")
        tail = outputs[name][1:]
        fits = [
            len(tail) == len(want)
            and all(w is None or not isinstance(t, int) or t == w for t, w in zip(tail, want, strict=True))
            for want in _TAILS[FIELDS[name].kind]
        ]
        if outputs[name] and not any(fits):
            raise CardError(
                where, f"the output {name!r} of shape {outputs[name]} is no {FIELDS[name].kind.value}"
            )
    return shape[0] if isinstance(shape[0], int) else 0
