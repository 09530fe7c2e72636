"""The fields of Triton's config.pbtxt that a package may use, and a reader that knows no others.

Names and types: model_config.proto of github.com/triton-inference-server/common. Text carries no field
numbers, so those here only tell fields apart.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

ENUMS = {
    "DataType": ("TYPE_INVALID", "TYPE_UINT8", "TYPE_INT8", "TYPE_INT64", "TYPE_FP16", "TYPE_FP32"),
    "Kind": ("KIND_AUTO", "KIND_GPU", "KIND_CPU", "KIND_MODEL"),
}
MESSAGES: dict[str, dict[str, str]] = {
    "Shape": {"shape": "int64*"},
    "Input": {"name": "string", "data_type": "DataType", "dims": "int64*", "reshape": "Shape", "optional": "bool"},
    "Output": {
        "name": "string", "data_type": "DataType", "dims": "int64*", "reshape": "Shape", "label_filename": "string",
    },
    "Latest": {"num_versions": "uint32"},
    "All": {},
    "Specific": {"versions": "int64*"},
    "VersionPolicy": {"latest": "Latest", "all": "All", "specific": "Specific"},
    "InstanceGroup": {"name": "string", "kind": "Kind", "count": "int32", "gpus": "int32*"},
    "DynamicBatching": {"preferred_batch_size": "int32*", "max_queue_delay_microseconds": "uint64"},
    "Accelerator": {"name": "string"},
    "Accelerators": {"gpu_execution_accelerator": "Accelerator*", "cpu_execution_accelerator": "Accelerator*"},
    "Optimization": {"execution_accelerators": "Accelerators"},
    "ModelConfig": {
        "name": "string", "platform": "string", "backend": "string", "version_policy": "VersionPolicy",
        "max_batch_size": "int32", "input": "Input*", "output": "Output*", "optimization": "Optimization",
        "dynamic_batching": "DynamicBatching", "instance_group": "InstanceGroup*", "default_model_filename": "string",
    },
}  # fmt: skip


def read(text: str) -> Any:
    """Parse a configuration; raises text_format.ParseError at a field or value that is not of the table."""
    file = descriptor_pb2.FileDescriptorProto(name="triton_config.proto", package="t", syntax="proto3")
    for name, values in ENUMS.items():
        enum = file.enum_type.add(name=name)
        for number, value in enumerate(values):
            enum.value.add(name=value, number=number)
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields.items(), 1):
            _add(message, field, number, kind)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    kind_of_config = message_factory.GetMessageClass(pool.FindMessageTypeByName("t.ModelConfig"))
    return text_format.Parse(text, kind_of_config())


def _add(message: Any, field: str, number: int, kind: str) -> None:
    proto = descriptor_pb2.FieldDescriptorProto
    plain = kind.removesuffix("*")
    added = message.field.add(name=field, number=number)
    added.label = proto.LABEL_REPEATED if kind.endswith("*") else proto.LABEL_OPTIONAL
    if plain in ENUMS or plain in MESSAGES:
        added.type_name = f".t.{plain}"
        added.type = proto.TYPE_ENUM if plain in ENUMS else proto.TYPE_MESSAGE
    else:
        added.type = getattr(proto, f"TYPE_{plain.upper()}")
