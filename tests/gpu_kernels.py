"""Which operations of a graph a GPU cannot run, by TensorFlow's own registry of kernels.

The wheel for Linux has the kernels for GPUs in it, also where there is no GPU.
"""

from __future__ import annotations

from collections.abc import Iterator

import tensorflow as tf
from tensorflow.core.framework import node_def_pb2
from tensorflow.python.framework import kernels

# Arguments of a graph, which have no kernel, and the texts of assertions, which stay on the host.
_NOT_RUN = {"Placeholder", "_Arg", "_Retval", "NoOp"}
_TEXTS = "Const(string)"


def without_gpu_kernel(function) -> set[str]:
    """Operations, with their types, of a concrete function and all that it calls."""
    found = {_described(node) for node in _nodes(function) if not _runs_on_a_gpu(node)}
    return found - {_TEXTS}


def int32_variables(function) -> list[str]:
    """Names of variables that TensorFlow would keep on the CPU."""
    return [each.name for each in function.graph.variables if each.dtype in (tf.int32, tf.string)]


def host_calls(function) -> set[str]:
    """Operations that call back into Python."""
    return {node.op for node in _nodes(function) if "PyFunc" in node.op}


def _nodes(function) -> Iterator[node_def_pb2.NodeDef]:
    graph = function.graph.as_graph_def()
    yield from graph.node
    for each in graph.library.function:
        yield from each.node_def


def _runs_on_a_gpu(node: node_def_pb2.NodeDef) -> bool:
    if node.op in _NOT_RUN:
        return True
    return any(
        kernel.device_type in ("GPU", "DEFAULT")
        and all(
            _types(node, constraint.name) <= set(constraint.allowed_values.list.type)
            for constraint in kernel.constraint
        )
        for kernel in kernels.get_registered_kernels_for_op(node.op).kernel
    )


def _types(node: node_def_pb2.NodeDef, name: str) -> set[int]:
    value = node.attr[name]
    return set(value.list.type) or {value.type}


def _described(node: node_def_pb2.NodeDef) -> str:
    types = {
        tf.dtypes.as_dtype(each).name for name in node.attr for each in _types(node, name) if each
    }
    return f"{node.op}({', '.join(sorted(types))})"
