"""The messages of the protocol, built at run time: no protoc, no generated code.

They come from the file descriptors, which protoc can write, or the build of Dunlin:

    protoc --include_imports --descriptor_set_out=docs/examples/python/dunlin.desc \\
        -I protocol/proto protocol/proto/dunlin/v1/frame.proto
    cargo run -p dunlin-protocol --example descriptors > docs/examples/python/dunlin.desc

DUNLIN_DESCRIPTORS names the file if it is elsewhere.
"""

import os
from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PATH = Path(os.environ.get("DUNLIN_DESCRIPTORS", Path(__file__).with_name("dunlin.desc")))
if not _PATH.exists():
    raise SystemExit(f"{_PATH} is missing. {__doc__}")

_POOL = descriptor_pool.DescriptorPool()
for _file in descriptor_pb2.FileDescriptorSet.FromString(_PATH.read_bytes()).file:
    _POOL.Add(_file)


def _class(name):
    descriptor = _POOL.FindMessageTypeByName(f"dunlin.v1.{name}")
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(descriptor)
    return message_factory.MessageFactory(_POOL).GetPrototype(descriptor)  # before protobuf 4.22


Frame = _class("Frame")
Entry = _class("Entry")
Message = _class("Message")
Membership = _class("Membership")

_ERROR_CODES = _POOL.FindEnumTypeByName("dunlin.v1.ErrorCode").values_by_number
_CLOSE_REASONS = _POOL.FindEnumTypeByName("dunlin.v1.CloseReason").values_by_number


def _name(values, number, prefix):
    return values[number].name.removeprefix(prefix) if number in values else f"code {number}"


def error_name(code):
    return _name(_ERROR_CODES, code, "ERROR_CODE_")


def close_name(reason):
    return _name(_CLOSE_REASONS, reason, "CLOSE_REASON_")
