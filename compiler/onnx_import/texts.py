"""Whether the strings of an ONNX file are text: protobuf hands over any bytes."""

from __future__ import annotations

import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from moiety.protocols.errors import BadModel

UNREAD = "doc_string"
"""Exporters for one file system write its paths there."""


def check_texts(model: onnx.ModelProto, name: str) -> None:
    """Raises `BadModel` that says which kind of string is not UTF-8, as ONNX wants them."""
    for field in _damaged(model):
        raise BadModel(
            f"model {name!r} is damaged: a {field} in it is not UTF-8 text; export it again"
        )


def _damaged(message: Message) -> list[str]:
    found: list[str] = []
    for field, value in message.ListFields():
        each = value if field.is_repeated else (value,)
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for inner in each:
                found += _damaged(inner)
        elif field.type == FieldDescriptor.TYPE_STRING and field.name != UNREAD:
            found += [field.full_name for text in each if not isinstance(text, str)]
    return found
