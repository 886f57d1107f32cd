"""Frozen dataclasses of options from the nested mapping of a config file; a mistyped name is told its nearest."""

import dataclasses
import difflib
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

Options = TypeVar("Options")


def options_from(kind: type[Options], config: Mapping[str, Any], path: str = "config") -> Options:
    """A dataclass with the config's values; fields that it does not name keep their defaults.

    Args:
      kind: dataclass whose fields are bool, int, float, str, tuples of these, any of these or None, such classes, or
        dictionaries of any of these by names that the config chooses; `Any` takes what there is.
      config: nested alike.
      path: how messages call the mapping.

    Raises:
      ValueError: a name is no field, or a value is of the wrong type or impossible.
    """
    return _build(kind, config, path, list(_paths(kind, path)))


def _build(kind: Any, config: Mapping[str, Any], path: str, known: list[str]) -> Any:
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    chosen = {}
    for name, value in config.items():
        if name not in names:
            raise ValueError(f"{path}.{name} is no field; did you mean {_nearest(name, names, path, known)}?")
        chosen[name] = _converted(hints[name], value, f"{path}.{name}", known)
    try:
        return kind(**chosen)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _converted(hint: Any, value: Any, path: str, known: list[str]) -> Any:
    if hint is Any:
        return value
    if typing.get_origin(hint) is dict:
        if not isinstance(value, Mapping):
            raise ValueError(f"{path} is a section of named entries, got {value!r}; set {path}.NAME")
        one = typing.get_args(hint)[1]
        return {str(name): _converted(one, part, f"{path}.{name}", known) for name, part in value.items()}
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise ValueError(f"{path} is a section, got {value!r}; set one of its fields, {path}.NAME")
        return _build(hint, value, path, known)
    if typing.get_origin(hint) is tuple:
        kinds = typing.get_args(hint)
        if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != len(kinds):
            raise ValueError(f"{path} must be {len(kinds)} numbers, got {value!r}")
        return tuple(_converted(one, part, path, known) for one, part in zip(kinds, value, strict=True))
    if type(None) in typing.get_args(hint):
        kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
        return None if value is None else _converted(kinds[0], value, path, known)
    # A bool is an int to Python, and an int is as good as a float.
    right = isinstance(value, hint) and (hint is bool or not isinstance(value, bool))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not right:
        raise ValueError(f"{path} must be {hint.__name__}, got {value!r}")
    return value


def _paths(kind: Any, prefix: str) -> Iterator[str]:
    for name, hint in typing.get_type_hints(kind).items():
        if dataclasses.is_dataclass(hint):
            yield from _paths(hint, f"{prefix}.{name}")
        else:
            yield f"{prefix}.{name}"


def _nearest(name: str, names: list[str], path: str, known: list[str]) -> str:
    """The nearest field of the section; if none is near, the field of any section whose own name is nearest."""
    here = difflib.get_close_matches(name, names, 1, 0.6)
    if here:
        return f"{path}.{here[0]}"
    by_name = {full.rsplit(".", 1)[1]: full for full in reversed(known)}
    anywhere = difflib.get_close_matches(name, by_name, 1, 0.6)
    if anywhere:
        return by_name[anywhere[0]]
    return f"{path}.{difflib.get_close_matches(name, names, 1, 0.0)[0]}"
