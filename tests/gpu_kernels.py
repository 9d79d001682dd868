"""Which operations of a graph a GPU cannot run, by TensorFlow's own registry of kernels.

The wheel for Linux has the kernels for GPUs in it, also where there is no GPU.
"""

from __future__ import annotations

from collections.abc import Iterator

import tensorflow as tf
from tensorflow.core.framework import node_def_pb2
from tensorflow.python.framework import kernels
from tensorflow.python.framework.function_def_to_graph import function_def_to_graph

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


def copied_to_the_host(function) -> set[str]:
    """Operations of loops and branches, with their types, that want a batch in the host's memory.

    Their GPU kernels do: TensorFlow computes with int32 on the CPU. Scalars and shapes are meant
    to be there; a batch is what has a dimension that is not known beforehand.
    """
    graphs = [
        function_def_to_graph(each) for each in function.graph.as_graph_def().library.function
    ]
    operations = [each for graph in graphs for each in graph.get_operations()]
    return {
        _described(each.node_def)
        for each in operations
        if any(
            name in _in_host_memory(each.node_def) and not tensor.shape.is_fully_defined()
            for name, tensor in (*_inputs(each), *_outputs(each))
        )
    }


def _inputs(operation: tf.Operation) -> Iterator[tuple[str, tf.Tensor]]:
    return _named(operation, operation.op_def.input_arg, operation.inputs)


def _outputs(operation: tf.Operation) -> Iterator[tuple[str, tf.Tensor]]:
    return _named(operation, operation.op_def.output_arg, operation.outputs)


def _named(operation: tf.Operation, arguments, tensors) -> Iterator[tuple[str, tf.Tensor]]:
    """Name of the argument of each tensor; one that is a list has one name for all of it."""
    rest = iter(tensors)
    for argument in arguments:
        count = 1
        if argument.number_attr:
            count = operation.get_attr(argument.number_attr)
        elif argument.type_list_attr:
            count = len(operation.get_attr(argument.type_list_attr))
        for _ in range(count):
            yield argument.name, next(rest)


def _nodes(function) -> Iterator[node_def_pb2.NodeDef]:
    graph = function.graph.as_graph_def()
    yield from graph.node
    for each in graph.library.function:
        yield from each.node_def


def _runs_on_a_gpu(node: node_def_pb2.NodeDef) -> bool:
    return node.op in _NOT_RUN or _gpu_kernel(node) is not None


def _gpu_kernel(node: node_def_pb2.NodeDef):
    """The kernel of an operation of these types, None without one."""
    for kernel in kernels.get_registered_kernels_for_op(node.op).kernel:
        if kernel.device_type in ("GPU", "DEFAULT") and all(
            _types(node, constraint.name) <= set(constraint.allowed_values.list.type)
            for constraint in kernel.constraint
        ):
            return kernel
    return None


def _types(node: node_def_pb2.NodeDef, name: str) -> set[int]:
    value = node.attr[name]
    return set(value.list.type) or {value.type}


def _described(node: node_def_pb2.NodeDef) -> str:
    types = {
        tf.dtypes.as_dtype(each).name for name in node.attr for each in _types(node, name) if each
    }
    return f"{node.op}({', '.join(sorted(types))})"


def transfers_to_host(function) -> set[str]:
    """Operations that wait for a value from the device: `producer -> consumer.argument`.

    Of a graph and of its loops, but not inside of what XLA compiles, where there are no kernels.
    """
    found = set()
    for operation in _operations(function.graph):
        waited_for = [
            (name, tensor)
            for name, tensor in _inputs(operation)
            if _put_on_host(operation) or name in _in_host_memory(operation.node_def)
        ]
        if "cond" in operation.node_def.attr:
            waited_for.append(("cond", _called(operation, "cond").outputs[0]))
        found |= {
            f"{_described(tensor.op.node_def)} -> {operation.type}.{name}"
            for name, tensor in waited_for
            if not _made_on_host(tensor)
        }
    return found


def _operations(graph) -> Iterator[tf.Operation]:
    for operation in graph.get_operations():
        yield operation
        compiled = "_XlaMustCompile" in operation.node_def.attr
        for part in () if compiled else ("cond", "body", "f"):
            if part in operation.node_def.attr:
                yield from _operations(_called(operation, part))


def _called(operation: tf.Operation, part: str):
    return operation.graph._get_function(operation.get_attr(part).name).graph


def _made_on_host(tensor: tf.Tensor) -> bool:
    operation = tensor.op
    # Constants are in both memories; numbers of steps and handles that are handed in are not on
    # the device either.
    if operation.type == "Const" or _put_on_host(operation):
        return True
    if operation.type == "Placeholder":
        return tensor.dtype in (tf.int32, tf.resource, tf.variant)
    if operation.type == "ReadVariableOp":
        return tensor.dtype == tf.bool  # a wish of this process, which is kept there
    if operation.type == "Identity":
        return _made_on_host(operation.inputs[0])
    name = next(name for name, output in _outputs(operation) if output is tensor)
    return name in _in_host_memory(operation.node_def)


def _put_on_host(operation: tf.Operation) -> bool:
    return "CPU" in operation.device


def _in_host_memory(node: node_def_pb2.NodeDef) -> set[str]:
    """Arguments and results that the kernel for GPUs has in the memory of the host."""
    kernel = _gpu_kernel(node)
    return set(kernel.host_memory_arg) if kernel else set()
