"""Variables and tables that a graph writes and reads again: what passes there has no gradient."""

import tensorflow as tf

WRITES = {
    "AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp", "LookupTableInsertV2",
    "QueueEnqueueV2", "ResourceScatterAdd", "ResourceScatterDiv", "ResourceScatterMax",
    "ResourceScatterMin", "ResourceScatterMul", "ResourceScatterNdAdd", "ResourceScatterNdSub",
    "ResourceScatterNdUpdate", "ResourceScatterSub", "ResourceScatterUpdate",
    "ResourceStridedSliceAssign", "StackPushV2",
}  # fmt: skip
READS = {
    "LookupTableFindV2", "QueueDequeueV2", "ReadVariableOp", "ResourceGather", "ResourceGatherNd",
    "StackPopV2",
}  # fmt: skip


def link(graph):
    """Let what reads a state after it was written have that operation among its inputs."""
    for nodes in (graph.node, *(function.node_def for function in graph.library.function)):
        written = {}
        for node in nodes:
            state = node.input[0] if node.input else None
            if node.op in READS:
                node.input.extend(written.get(state, ()))
            elif node.op in WRITES:
                written.setdefault(state, []).append(node.name)


def is_state(argument):
    return argument.type == tf.resource.as_datatype_enum
