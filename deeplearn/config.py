"""Configs (frozen dataclasses of knobs) to JSON and back, strictly: an unknown knob or a wrong type is an error."""

import difflib
import functools
import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from deeplearn.errors import ConfigError
from deeplearn.knobs import Filled, Range


def to_json(config: Any) -> dict[str, Any]:
    """A dataclass of knobs as plain JSON values: paths become strings, tuples lists, nested dataclasses objects."""
    return json.loads(json.dumps(_converter().unstructure(config), default=_python))


def from_json(cls: type, values: Any) -> Any:
    """The config of class `cls` that `to_json` wrote; knobs that are missing take their defaults.

    Raises:
        ConfigError: an unknown knob or a value of the wrong type, with its path and the nearest known name.
    """
    try:
        found = _converter().structure(values, cls)
    except Exception as error:  # cattrs wraps whatever a constructor raised, so the type says nothing
        raise ConfigError("; ".join(_problems(error, "", cls)) + "; correct the config and try again.") from error
    check(found)
    return found


def check(config: Any, prefix: str = "") -> None:
    """Hold a dataclass of knobs to what is declared beside them (see `knobs`).

    Raises:
        ConfigError: names the knob, its value and what it may be.
    """
    for field in fields(config):
        value, name = getattr(config, field.name), prefix + field.name
        if is_dataclass(value):
            check(value, f"{name}.")
        for allowed in _limits(type(config)).get(field.name, ()):
            if isinstance(allowed, Filled):
                if not len(value):
                    raise ConfigError(f"the knob {name} is empty, and it has to have one value at least; give one.")
                continue
            for number in value if isinstance(value, tuple | list) else (value,):
                if isinstance(number, int | float) and number not in allowed:
                    raise ConfigError(f"the knob {name} is {number}, and it has to be {allowed}; change it.")


@functools.cache
def _limits(cls: type) -> dict[str, list[Range | Filled]]:
    """Knob -> what it may be; a class that gives a knob another default keeps the limits of the class it extends."""
    found: dict[str, list[Range]] = {}
    for base in reversed(cls.__mro__):
        for name, annotation in inspect.get_annotations(base, eval_str=True).items():
            if limits := list(_in(annotation)):
                found[name] = limits
    return found


def _in(annotation: Any) -> Iterator[Range | Filled]:
    """The limits in a type such as `Annotated[float, Range(low=0)] | None`."""
    for part in get_args(annotation):
        yield from [part] if isinstance(part, Range | Filled) else _in(part)


def is_whole(cls: type, knob: str) -> bool:
    """Whether a dotted knob takes whole numbers and no others: by its type, as its value may be None."""
    kinds: list[Any] = [cls]
    for name in knob.split("."):
        owners = [kind for kind in kinds if is_dataclass(kind)]
        kinds = [kind for owner in owners for kind in _kinds(get_type_hints(owner).get(name))]
    return int in kinds and float not in kinds


def _kinds(hint: Any) -> Iterator[Any]:
    """The types that a value may have: of a union each, of literals their own."""
    for part in get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,):
        yield from map(type, get_args(part)) if get_origin(part) is Literal else (part,)


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested JSON objects as one level: `{"optimizer": {"rate": 1}}` -> `{"optimizer.rate": 1}`."""
    result = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            result |= flat(value, f"{prefix}{name}.")
        else:
            result[prefix + name] = value
    return result


def difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Dotted knob -> (value in a, value in b) where two configs in JSON form differ; None where one lacks the knob."""
    a, b = flat(a), flat(b)
    names = dict.fromkeys([*a, *b])
    return {name: (a.get(name), b.get(name)) for name in names if (name in a) != (name in b) or a[name] != b[name]}


def changed(config: Any) -> list[str]:
    """Dotted names of the knobs that are not at their defaults; empty where the class has knobs without a default."""
    try:
        default = type(config)()
    except TypeError:
        return []
    return sorted(difference(to_json(default), to_json(config)))


@functools.cache
def _converter() -> Any:
    """cattrs, with no silent conversions: it would read "3" as the int 3, 2.7 as 2 and any string as True."""
    from cattrs.gen import make_dict_structure_fn
    from cattrs.preconf.json import make_converter

    converter = make_converter(forbid_extra_keys=True)
    group = functools.partial(make_dict_structure_fn, converter=converter, _cattrs_forbid_extra_keys=True)
    for kind in (int, bool, str):
        converter.register_structure_hook(kind, _exactly)
    converter.register_structure_hook(float, _number)
    converter.register_structure_hook_func(lambda t: get_origin(t) is Literal, _one_of)
    converter.register_structure_hook_func(lambda t: get_origin(t) is tuple, functools.partial(_listed, converter))
    converter.register_structure_hook_factory(_is_group, lambda t: functools.partial(_grouped, group(t)))
    # A choice between dataclasses (`data: Digits | Folder`) is stored with the name of the chosen class.
    converter.register_unstructure_hook_func(
        _is_choice, lambda x: None if x is None else {"type": type(x).__name__, **converter.unstructure(x)}
    )
    converter.register_structure_hook_func(_is_choice, lambda value, t: _chosen(converter, value, t))
    return converter


def _is_choice(t: Any) -> bool:
    return sum(is_dataclass(option) for option in get_args(t) if isinstance(option, type)) > 1


def _chosen(converter: Any, value: Any, t: Any) -> Any:
    options = {option.__name__: option for option in get_args(t)}
    if value is None and "NoneType" in options:
        return None
    if not isinstance(value, Mapping) or value.get("type") not in options:
        raise TypeError(f'expected an object whose "type" is one of {", ".join(options)}')
    return converter.structure({k: v for k, v in value.items() if k != "type"}, options[value["type"]])


def _exactly(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}, got {_shown(value)}")
    return value


def _one_of(value: Any, t: Any) -> Any:
    if not any(type(value) is type(known) and value == known for known in get_args(t)):
        known = ", ".join(map(_shown, get_args(t)))
        raise TypeError(f"expected {known if len(get_args(t)) == 1 else f'one of {known}'}, got {_shown(value)}")
    return value


def _listed(converter: Any, value: Any, t: Any) -> Any:
    from cattrs import IterableValidationNote

    if not isinstance(value, list | tuple):  # a text is not the list of its letters
        raise TypeError(f"expected a list, such as [{_shown(value)}], got {_shown(value)}")
    kinds = get_args(t)
    if kinds[-1] is Ellipsis:
        kinds = kinds[:1] * len(value)
    if len(kinds) != len(value):
        raise TypeError(f"expected {len(kinds)} values, got {_shown(value)}")
    found, wrong = [], []
    for place, (part, kind) in enumerate(zip(value, kinds, strict=True)):
        try:
            found.append(converter.structure(part, kind))
        except Exception as error:  # as cattrs does: all of them are told
            error.add_note(IterableValidationNote("", place, kind))
            wrong.append(error)
    if wrong:
        raise ExceptionGroup("", wrong)
    return tuple(found)


def _is_group(t: Any) -> bool:
    return isinstance(t, type) and is_dataclass(t)


def _grouped(convert: Callable[[Any, Any], Any], value: Any, t: Any) -> Any:
    if not isinstance(value, Mapping):
        raise TypeError(f"expected a group of knobs, with their names, got {_shown(value)}")
    return convert(value, t)


def _number(value: Any, _: type) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise TypeError(f"expected a number, got {_shown(value)}")


def _shown(value: Any) -> str:
    """As JSON has it."""
    return json.dumps(value, default=repr)


def _problems(error: BaseException, path: str, cls: Any) -> Iterator[str]:
    """One clause for every leaf of the tree of errors that cattrs raises."""
    from cattrs import AttributeValidationNote, ForbiddenExtraKeysError, IterableValidationNote

    if isinstance(error, ForbiddenExtraKeysError):
        known = [field.name for field in fields(error.cl)] if is_dataclass(error.cl) else []
        for name in sorted(error.extra_fields):
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(known)}"
            yield f"unknown knob `{_join(path, name)}` ({hint})"
    elif isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            where = path
            for note in getattr(inner, "__notes__", []):
                if isinstance(note, AttributeValidationNote):
                    where = _join(path, note.name)
                elif isinstance(note, IterableValidationNote):
                    where = f"{path}[{note.index}]"
            yield from _problems(inner, where, cls)
    else:
        yield f"wrong value for `{path or getattr(cls, '__name__', cls)}`: {error}"


def _python(value: Any) -> Any:
    """A NumPy or JAX scalar or array as Python numbers."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a knob cannot be {type(value).__name__}")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
