"""Rebuilds an ONNX graph around what a file holds: new inputs, normalisation, decoding, a free batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mien.core.errors import ConversionError

if TYPE_CHECKING:
    import onnx

OPSET = 18
"""Files older than this are raised to it, so that every node added here means one thing."""

IR_VERSION = 8
"""The file format of graphs made here: onnx would take its newest, which older onnxruntimes refuse."""

_PREFIX = "file/"

Dimension = int | str | None
"""An axis: its length, or the name of a free one; None accepts anything where a shape is expected."""

Attribute = int | float | str | Sequence[int]
"""The attribute types of the nodes added here."""


def read_model(data: bytes, name: str) -> onnx.ModelProto:
    """Parse an ONNX file; what it needs to be beyond that is the adapter's business.

    Raises:
        ConversionError: the bytes are no ONNX model.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise ConversionError(name, f"the {len(data)} bytes are no ONNX file ({error})") from error
    if not model.graph.node:
        raise ConversionError(name, f"the {len(data)} bytes are no ONNX file (no graph in them)")
    return model


def shape_of(value: onnx.ValueInfoProto) -> tuple[Dimension, ...]:
    """Return a tensor's declared shape; free axes are named, or None when they have no name."""
    return tuple(
        axis.dim_value if axis.HasField("dim_value") else axis.dim_param or None
        for axis in value.type.tensor_type.shape.dim
    )


def _fits(found: Sequence[Dimension], expected: Sequence[Dimension]) -> bool:
    return len(found) == len(expected) and all(
        want == have for have, want in zip(found, expected, strict=True) if type(have) is type(want) is int
    )


def _written(shape: Sequence[Dimension]) -> str:
    return "x".join("?" if axis is None else str(axis) for axis in shape) or "scalar"


def _described(value: onnx.ValueInfoProto) -> str:
    return f"{value.name.removeprefix(_PREFIX)!r} {_written(shape_of(value))}"


class Graph:
    """A model while it is rebuilt.

    Tensors are named by strings, as in ONNX; those of the file get a prefix. The model given is not changed.

    Attributes:
        name: the model's name in errors.
        model: the copy that is being rebuilt: opset 18 or later, initializers no longer listed as inputs.
    """

    def __init__(self, model: onnx.ModelProto, name: str) -> None:
        import onnx
        from onnx import compose, version_converter

        self.name = name
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        # Files of IR 3 list every weight among the inputs, which forbids the runtime to fold them.
        weights = {weight.name for weight in copy.graph.initializer}
        inputs = [value for value in copy.graph.input if value.name not in weights]
        del copy.graph.input[:]
        copy.graph.input.extend(inputs)
        copy.ir_version = max(copy.ir_version, IR_VERSION)
        version = next((o.version for o in copy.opset_import if o.domain in ("", "ai.onnx")), 0)
        if version < OPSET:
            try:
                copy = version_converter.convert_version(copy, OPSET)
            except (RuntimeError, ValueError) as error:
                raise ConversionError(
                    name, f"opset {version} cannot be raised to {OPSET}: {error}"
                ) from error
        # Shapes noted for the old input would contradict the new one.
        del copy.graph.value_info[:]
        # Names such as `boxes` are ours to give, also where the file has a tensor called so.
        self.model: onnx.ModelProto = compose.add_prefix(copy, _PREFIX, rename_nodes=False)
        self._count = 0

    def expect_input(self, shape: Sequence[Dimension]) -> tuple[Dimension, ...]:
        """Return the shape of the one input, which has to fit `shape` wherever both are numbers.

        Raises:
            ConversionError: more inputs than one, or another shape.
        """
        inputs = list(self.model.graph.input)
        found = ", ".join(_described(value) for value in inputs) or "none"
        if len(inputs) != 1 or not _fits(shape_of(inputs[0]), shape):
            raise ConversionError(self.name, f"expected one input {_written(shape)}, found {found}")
        return shape_of(inputs[0])

    def expect_outputs(self, expected: Sequence[tuple[str, Sequence[Dimension]]]) -> list[str]:
        """Return the names of the outputs in the file's order, which have to be as many and of these shapes.

        Args:
            expected: (what the output is, its shape) for each output of the file.

        Raises:
            ConversionError: another number of outputs, or an output of another shape.
        """
        outputs = list(self.model.graph.output)
        found = ", ".join(_described(value) for value in outputs)
        if len(outputs) != len(expected):
            wanted = ", ".join(f"{what} {_written(shape)}" for what, shape in expected)
            raise ConversionError(self.name, f"expected the outputs {wanted}; found {found}")
        for value, (what, shape) in zip(outputs, expected, strict=True):
            if not _fits(shape_of(value), shape):
                reason = f"expected the output {what} {_written(shape)}, found {_described(value)}"
                raise ConversionError(self.name, f"{reason} (outputs: {found})")
        return [value.name for value in outputs]

    def constant(self, values: npt.ArrayLike, dtype: npt.DTypeLike = np.float32) -> str:
        """Add a constant tensor and return its name."""
        from onnx import numpy_helper

        name = self._new_name("constant")
        self.model.graph.initializer.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def indices(self, *values: int) -> str:
        """Add a constant of 64-bit integers (axes, shapes, positions) and return its name."""
        return self.constant(values, np.int64)

    def add(self, operator: str, *inputs: str, attributes: Mapping[str, Attribute] | None = None) -> str:
        """Append a node of one output and return the output's name."""
        return self.add_many(operator, *inputs, outputs=1, attributes=attributes)[0]

    def add_many(
        self, operator: str, *inputs: str, outputs: int, attributes: Mapping[str, Attribute] | None = None
    ) -> list[str]:
        """Append a node of several outputs and return their names."""
        names = [self._new_name(operator.lower()) for _ in range(outputs)]
        self.model.graph.node.append(_node(operator, inputs, names, attributes or {}))
        return names

    def take_rgb(
        self,
        shape: Sequence[Dimension],
        mean: Sequence[float] = (0.0,),
        deviation: Sequence[float] = (1.0,),
        blue_first: bool = False,
    ) -> None:
        """Replace the input by one named `input` of 0..255, RGB (or grey), that the graph itself prepares.

        Args:
            shape: the new input's, (n, channels, height, width); free axes are named.
            mean: subtracted from each channel in the order that the file wants, or one number for all.
            deviation: divides what is left, likewise.
            blue_first: the file wants BGR.
        """
        from onnx import TensorProto, helper

        steps: list[tuple[str, str, dict[str, Attribute]]] = []
        if blue_first:
            steps.append(("Gather", self.indices(2, 1, 0), {"axis": 1}))
        if any(mean):
            steps.append(("Sub", self.constant(np.reshape(mean, (1, -1, 1, 1))), {}))
        if any(value != 1.0 for value in deviation):
            factor = 1.0 / np.reshape(np.asarray(deviation, np.float64), (1, -1, 1, 1))
            steps.append(("Mul", self.constant(factor), {}))
        graph = self.model.graph
        tensor = "input"
        preparation = []
        for operator, operand, attributes in steps:
            prepared = self._new_name("prepared")
            preparation.append(_node(operator, (tensor, operand), (prepared,), attributes))
            tensor = prepared
        old = graph.input[0].name
        for node in graph.node:
            for position, name in enumerate(node.input):
                if name == old:
                    node.input[position] = tensor
        nodes = [*preparation, *graph.node]
        del graph.node[:]
        graph.node.extend(nodes)
        del graph.input[:]
        graph.input.append(helper.make_tensor_value_info("input", TensorProto.FLOAT, list(shape)))

    def finish(self, outputs: Mapping[str, tuple[str, Sequence[Dimension]]]) -> onnx.ModelProto:
        """Name the outputs, drop what no output needs, check the model and return it.

        Args:
            outputs: for each output its tensor and shape.

        Raises:
            ConversionError: ONNX's own checker refuses the result.
        """
        import onnx
        from onnx import TensorProto, helper

        graph = self.model.graph
        del graph.output[:]
        for name, (tensor, shape) in outputs.items():
            graph.node.append(helper.make_node("Identity", [tensor], [name], name=f"name_{name}"))
            graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)))
        _drop_unused(graph)
        try:
            onnx.checker.check_model(self.model, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            raise ConversionError(self.name, f"the rebuilt graph is not valid: {error}") from error
        return self.model

    def _new_name(self, about: str) -> str:
        self._count += 1
        return f"mien_{about}_{self._count}"


def _node(
    operator: str, inputs: Sequence[str], outputs: Sequence[str], attributes: Mapping[str, Attribute]
) -> onnx.NodeProto:
    from onnx import helper

    node = helper.make_node(operator, inputs, outputs, name=outputs[0])
    node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
    return node


def _drop_unused(graph: onnx.GraphProto) -> None:
    needed = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    weights = [weight for weight in graph.initializer if weight.name in needed]
    del graph.node[:]
    graph.node.extend(reversed(kept))
    del graph.initializer[:]
    graph.initializer.extend(weights)


def with_free_batch(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """Return the model with a free first axis where the graph allows it, else the model as it is.

    Reshapes to a constant (1, ...) are what ties exported graphs to one picture; they are freed, and the
    result is kept only when a batch of three answers as three single pictures do.

    Args:
        model: one input `input` whose first axis is the batch, outputs likewise.
        name: the model's name in errors.

    Raises:
        ConversionError: the model does not run even with one picture.
    """
    import onnx
    from onnx import numpy_helper

    free = onnx.ModelProto()
    free.CopyFrom(model)
    for value in [*free.graph.input, *free.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_param = "n"
    constants = {weight.name: weight for weight in free.graph.initializer}
    for node in free.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
    from_input = {"input"}
    for node in free.graph.node:
        if not from_input.intersection(node.input):
            continue
        from_input.update(node.output)
        # Only data that comes from the input has a batch; weights are reshaped to (1, ...) too.
        if node.op_type == "Reshape" and node.input[0] in from_input and node.input[1] in constants:
            target = numpy_helper.to_array(constants[node.input[1]]).copy()
            if target.size and target[0] == 1:
                target[0] = 0
                freed = numpy_helper.from_array(target, f"{node.output[0]}_free")
                free.graph.initializer.append(freed)
                node.input[1] = freed.name
    _drop_unused(free.graph)
    shape = [axis if isinstance(axis, int) else 1 for axis in shape_of(model.graph.input[0])[1:]]
    pictures = (np.random.default_rng(0).random((3, *shape)) * 255).astype(np.float32)
    singles = [_run(model, picture[None], name) for picture in pictures]
    try:
        batch = _run(free, pictures, name)
    except ConversionError:
        return model
    for position, together in enumerate(batch):
        apart = np.concatenate([single[position] for single in singles])
        if together.shape != apart.shape or not np.allclose(together, apart, rtol=1e-3, atol=1e-4):
            return model
    return free


def _run(
    model: onnx.ModelProto, pictures: npt.NDArray[np.float32], name: str
) -> list[npt.NDArray[np.float32]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        answers: list[npt.NDArray[np.float32]] = session.run(None, {"input": pictures})
    except Exception as error:  # onnxruntime's exceptions share no base of their own
        raise ConversionError(name, f"the rebuilt graph does not run: {error}") from error
    return answers
