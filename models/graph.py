"""Detector to ONNX graph, traced once for all detectors that differ in nothing but their weights.

Tracing takes seconds and reads no weight. So the graph is made with the weights as further inputs,
and these become constants when it is filled: a site of many alike assets is traced once. That a
filled graph decides as its detector does is proven on real windows each time (`models.export`).
"""

import io
import logging
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import onnx
import onnx_ir
import torch
from jaxtyping import config
from onnxscript import optimizer

from models.detector import Detection, Detector, initial_state

OPSET = 20
MOST_KEPT = 16
"""Traced graphs that are kept, without weights: some 300 kB each."""
CONSTANT = "lifted_tensor"
"""How torch calls tensors that the code makes."""
_traced: dict[str, bytes] = {}
_tracing = threading.Lock()
"""The exporter can do one thing at a time."""


class ExportError(Exception):
    """A detector that must not leave: the message says which promise it breaks."""


def export_onnx(detector: Detector, *, length: int) -> bytes:
    """Turn the detector into one ONNX graph, weights included, batch size free.

    Args:
        detector: fitted, in evaluation mode.
        length: cells in a window.

    Raises:
        ExportError: the graph draws random numbers, has another opset or knows where it was made.
    """
    structure = _structure(detector, length)
    with _tracing:
        if structure not in _traced:
            while len(_traced) >= MOST_KEPT:
                del _traced[next(iter(_traced))]
            _traced[structure] = _trace(detector, length)
        model = onnx.load_from_string(_traced[structure])
    _fill_in(model, _weights(detector))
    _check_graph(model)
    return bytes(model.SerializeToString(deterministic=True))


def _structure(detector: Detector, length: int) -> str:
    """All that a trace depends on: modules, their options, shapes and types of their weights."""
    modules = [
        (name, type(module), {key: told for key, told in vars(module).items() if key[0] != "_"})
        for name, module in detector.named_modules()
    ]
    shapes = [
        (name, tuple(weight.shape), weight.dtype) for name, weight in _weights(detector).items()
    ]
    return repr((length, modules, shapes))


def _weights(detector: Detector) -> dict[str, torch.Tensor]:
    """By each name that it has: the exporter keeps a weight of two modules under one of both."""
    return {
        **dict(detector.named_parameters(remove_duplicate=False)),
        **dict(detector.named_buffers(remove_duplicate=False)),
    }


def _trace(detector: Detector, length: int) -> bytes:
    """The optimised graph, with the weights that it needs as inputs behind window and state."""
    example = (torch.zeros(4, len(detector.normalizer.mean), length), initial_state(detector))
    with _quiet(), _unchecked():
        program = torch.onnx.export(
            detector,
            example,
            input_names=["window", "state"],
            output_names=list(Detection._fields),
            dynamo=True,
            optimize=False,
            opset_version=OPSET,
            dynamic_shapes={"window": {0: torch.export.Dim("batch", min=1)}, "state": None},
            verbose=False,
        )
        if program is None:  # only if it is asked to write a file
            raise ExportError("the exporter made no graph")
        graph = program.model.graph
        for name in _weights(detector).keys() & graph.initializers.keys():
            weight = graph.initializers.pop(name)
            weight.const_value = None
            graph.inputs.append(weight)
        _check_lifted(graph.initializers)
        optimizer.optimize(program.model)
    model = onnx_ir.to_proto(program.model)
    _forget_origin(model)
    return bytes(model.SerializeToString())


def _check_lifted(kept: Iterable[str]) -> None:
    """What is left must come from the code alone: other detectors share it."""
    learned = [name for name in kept if CONSTANT not in name]
    if learned:
        raise ExportError(f"the trace keeps {', '.join(learned)} of one detector for all others")


def _fill_in(model: onnx.ModelProto, weights: dict[str, torch.Tensor]) -> None:
    """Make constants of the inputs that are weights."""
    inputs = list(model.graph.input)
    del model.graph.input[:]
    model.graph.input.extend(one for one in inputs if one.name not in weights)
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(weights[one.name].detach().numpy(), one.name)
        for one in inputs
        if one.name in weights
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's chatter and its warnings about optional packages to itself."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def _unchecked() -> Iterator[None]:
    """Check no annotations meanwhile, as tests do: a branch cannot be traced through that."""
    before = config.jaxtyping_disable
    config.update(item="jaxtyping_disable", value=True)
    try:
        yield
    finally:
        config.update(item="jaxtyping_disable", value=before)


def _forget_origin(model: onnx.ModelProto) -> None:
    """Remove source paths and lines, which the exporter leaves in every node."""
    model.doc_string = ""
    del model.metadata_props[:]
    for graph in _graphs(model.graph):
        named = (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer)
        for part in (graph, *named):
            part.doc_string = ""
            del part.metadata_props[:]


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph, and those of its branches."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)


def _nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    for graph in _graphs(model.graph):
        yield from graph.node
    for function in model.functions:
        yield from function.node


def _check_graph(model: onnx.ModelProto) -> None:
    onnx.checker.check_model(model, full_check=True)
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    if opsets.get("") != OPSET:
        raise ExportError(f"the graph has opset {opsets.get('')}, expected {OPSET}")
    random = sorted({node.op_type for node in _nodes(model) if "Random" in node.op_type})
    if random:
        raise ExportError(
            f"the graph draws random numbers ({', '.join(random)}); scores must repeat"
        )
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer):
        raise ExportError("the graph keeps weights in another file; a bundle has one")
    text = _without_weights(model).SerializeToString()
    if b".py" in text or str(Path(__file__).parents[1]).encode() in text:
        raise ExportError("the graph names the source files that it was made from")


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph alone: among half a million bytes of weights, any three bytes turn up by chance."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    for graph in _graphs(bare.graph):
        for tensor in graph.initializer:
            tensor.ClearField("raw_data")
    for node in _nodes(bare):
        for attribute in node.attribute:
            attribute.t.ClearField("raw_data")
    return bare
