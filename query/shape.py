"""Dataclasses as JSON has them: their JSON Schema, and themselves made again of a document.

Types that occur: dataclasses, str, int, float, bool, None and unions, list, tuple of any length,
dict with text keys, enums of text. JSON Schema 2020-12. Raises ValueError for a document that is
not of the type.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Final, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")
Schema = dict[str, Any]

_PLAIN: Final[Mapping[object, str]] = {
    str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null",
}  # fmt: skip


def schema(kind: Any, known: dict[str, Schema], *, at: str = "#/components/schemas/") -> Schema:
    """The schema of a type; those of the dataclasses in it go into ``known`` by name."""
    if kind in _PLAIN:
        return {"type": _PLAIN[kind]}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {"enum": [each.value for each in kind]}
    if is_dataclass(kind):
        name = cast(type, kind).__name__
        if name not in known:
            known[name] = {}  # a tree names itself
            known[name] = _object(kind, known, at)
        return {"$ref": at + name}
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _union([schema(each, known, at=at) for each in arguments])
    if origin in (list, tuple):
        return {"type": "array", "items": schema(arguments[0], known, at=at)}
    if origin is not None and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": schema(arguments[1], known, at=at)}
    if kind is object or kind is Any:
        return {}
    raise ValueError(f"no schema for {kind!r}")


def _object(kind: Any, known: dict[str, Schema], at: str) -> Schema:
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind)]
    return {
        "type": "object",
        "description": (kind.__doc__ or "").strip().partition("\n")[0],
        "properties": {name: schema(hints[name], known, at=at) for name in names},
        "required": names,
        "additionalProperties": False,
    }


def _union(parts: list[Schema]) -> Schema:
    if all(set(part) == {"type"} for part in parts):
        return {"type": [part["type"] for part in parts]}
    return {"anyOf": parts}


def made(kind: type[T], value: object) -> T:
    """A value of the type, of what JSON had for it."""
    return cast(T, _made(kind, value))


def _made(kind: Any, value: Any) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _of_union(arguments, value)
    if is_dataclass(kind):
        _expect(isinstance(value, dict), kind, value)
        hints = get_type_hints(kind)
        missing = [field.name for field in fields(kind) if field.name not in value]
        _expect(not missing, kind, missing)
        parts = {field.name: _made(hints[field.name], value[field.name]) for field in fields(kind)}
        return cast(Any, kind)(**parts)
    if origin in (list, tuple):
        _expect(isinstance(value, list), kind, value)
        return origin(_made(arguments[0], each) for each in value)
    if origin is not None and issubclass(origin, Mapping):
        _expect(isinstance(value, dict), kind, value)
        return {name: _made(arguments[1], each) for name, each in value.items()}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(value)
    if kind is float and type(value) is int:  # JSON has one kind of number
        return float(value)
    _expect(type(value) is kind, kind, value)
    return value


def _of_union(kinds: tuple[Any, ...], value: object) -> object:
    for kind in kinds:
        try:
            return _made(kind, value)
        except ValueError:
            continue
    raise ValueError(f"{value!r} is none of {kinds}")


def _expect(holds: bool, kind: object, value: object) -> None:
    if not holds:
        raise ValueError(f"{value!r} is no {kind}")
