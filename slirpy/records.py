"""Named tuples, structural types and data classes without :mod:`typing` and :mod:`dataclasses`.

Importing these two takes longer than importing the TCP engine, and they compile text for each class: one method of a
named tuple, six of a data class. Here the former waits for the first object of the class, the latter are closures.

Type checkers take ``NamedTuple`` and ``Protocol`` from here for the originals. Those of data classes must stand where
they are used, for tools that make documentation::

    if not TYPE_CHECKING:
        from slirpy.records import dataclass
    else:
        from dataclasses import dataclass
"""

from __future__ import annotations

from collections import _tuplegetter  # type: ignore[attr-defined] # private, so typeshed omits it; a property is slower
from operator import attrgetter

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, NamedTuple, Protocol

__all__ = ["NamedTuple", "Protocol", "dataclass", "field", "replace"]

_NOT_COPIED = {"__annotations__", "__dict__", "__weakref__"}


class _NamedTupleMeta(type):
    """Metaclass that replaces a class with annotated fields by a named tuple with its methods."""

    def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> type:
        fields = body.get("__annotations__", {})
        namespace = {
            "__slots__": (),
            "__new__": _first_new,
            "__signature__": _OnDemand(_signature_of_new),
            "__match_args__": tuple(fields),
            "__repr__": _repr_fields,
            "__getnewargs__": _plain,
            "_fields": tuple(fields),
            "_field_defaults": {field: body[field] for field in fields if field in body},
            "_asdict": _asdict,
            "_make": classmethod(_make),
            "_replace": _replace,
        }
        namespace |= {key: value for key, value in body.items() if key not in _NOT_COPIED}
        namespace |= {field: _tuplegetter(number, "") for number, field in enumerate(fields)}
        made = type(name, (tuple,), namespace)
        made.__annotations__ = fields
        return made


def _first_new(cls: type, /, *args: Any, **kwargs: Any) -> object:
    """Make the first object of a named tuple's class."""
    return _compile_new(cls)(cls, *args, **kwargs)


def _compile_new(cls: Any) -> Callable[..., object]:
    """Compile ``__new__`` of a named tuple, as :func:`collections.namedtuple` does, and put it into its class."""
    owner = next(each for each in cls.__mro__ if "_fields" in vars(each))
    names = ", ".join(owner._fields)
    new: Callable[..., object] = eval(
        f"lambda _cls, {names}: _new(_cls, ({names}{',' if len(owner._fields) == 1 else ''}))",
        {"__builtins__": {}, "__name__": f"namedtuple_{owner.__name__}", "_new": tuple.__new__},
    )
    new.__name__, new.__qualname__ = "__new__", f"{owner.__qualname__}.__new__"
    new.__annotations__ = owner.__annotations__
    new.__defaults__ = tuple(owner._field_defaults.values())
    owner.__new__ = staticmethod(new)
    return new


def _signature_of_new(cls: Any) -> object:
    """Return the signature of a named tuple for :func:`inspect.signature`."""
    from inspect import signature

    whole = signature(_compile_new(cls))
    return whole.replace(parameters=[*whole.parameters.values()][1:])


def _repr_fields(self: Any) -> str:
    values = ", ".join(f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True))
    return f"{type(self).__name__}({values})"


def _plain(self: Any) -> tuple[Any, ...]:
    """Return a plain tuple, from which copies are made."""
    return tuple(self)


def _asdict(self: Any) -> dict[str, Any]:
    """Return a dict from the names of fields to their values."""
    return dict(zip(self._fields, self, strict=True))


def _make(cls: Any, values: Iterable[Any]) -> Any:
    """Make a named tuple of values in the order of its fields."""
    made = tuple.__new__(cls, values)
    if len(made) != len(cls._fields):
        raise TypeError(f"Expected {len(cls._fields)} arguments, got {len(made)}")
    return made


def _replace(self: Any, /, **changes: Any) -> Any:
    """Return a copy with some fields changed."""
    made = _make(type(self), map(changes.pop, self._fields, self))
    if changes:
        raise ValueError(f"Got unexpected field names: {list(changes)!r}")
    return made


if not TYPE_CHECKING:
    NamedTuple = type.__new__(_NamedTupleMeta, "NamedTuple", (), {"__doc__": "Base of named tuples."})

    class Protocol:
        """Base of structural types, which only type checkers check."""


_MISSING = object()
_put = object.__setattr__


class _Field:
    """A field of a data class."""

    __slots__ = ("compare", "default", "default_factory", "name", "repr", "type")

    def __init__(
        self, default: Any = _MISSING, default_factory: Any = None, in_repr: bool = True, compare: bool = True
    ) -> None:
        self.name, self.type = "", ""
        self.default = default
        self.default_factory = default_factory
        self.repr = in_repr
        self.compare = compare


def field(
    *,
    default: Any = _MISSING,
    default_factory: Any = None,
    repr: bool = True,  # noqa: A002 - the name in dataclasses
    compare: bool = True,
) -> Any:
    """Return options of a field, as :func:`dataclasses.field` does."""
    return _Field(default, default_factory, repr, compare)


def dataclass(
    cls: type | None = None,
    /,
    *,
    init: bool = True,
    repr: bool = True,  # noqa: A002 - the name in dataclasses
    eq: bool = True,
    frozen: bool = False,
    kw_only: bool = False,
    slots: bool = False,
) -> Any:
    """Add methods to a class by its annotated fields, as :func:`dataclasses.dataclass` does.

    Functions such as :func:`dataclasses.fields` and :func:`dataclasses.replace` work with it. It knows no
    ``InitVar``, ``ClassVar`` or ``KW_ONLY``, and no fields without an argument; all fields of a class are keywords,
    or none.
    """

    def decorate(cls: type) -> type:
        fields: dict[str, _Field] = {}
        for base in reversed(cls.__mro__[1:]):
            fields.update(vars(base).get("_record_fields", {}))
        body: dict[str, Any] = {} if not slots else dict(vars(cls))
        own = vars(cls).get("__annotations__", {})
        for name, kind in own.items():
            default = vars(cls).get(name, _MISSING)
            if default is not _MISSING and slots:
                del body[name]
            options = default if isinstance(default, _Field) else _Field(default)
            options.name, options.type = name, kind
            fields[name] = options
            if options is default and not slots:
                if options.default is _MISSING:
                    delattr(cls, name)
                else:
                    body[name] = options.default
        body["_record_fields"] = fields
        body["__dataclass_fields__"] = _OnDemand(lambda owner: _original(owner, fields, kw_only, frozen)[0])
        body["__dataclass_params__"] = _OnDemand(lambda owner: _original(owner, fields, kw_only, frozen)[1])
        methods: dict[str, Any] = {}
        if init:
            methods["__init__"] = _init(fields, kw_only)
            body["__signature__"] = _OnDemand(lambda owner: _signature(fields, kw_only))
            body["__match_args__"] = () if kw_only else tuple(fields)
        if repr:
            methods["__repr__"] = _repr([each.name for each in fields.values() if each.repr])
        if eq:
            compared = [each.name for each in fields.values() if each.compare]
            values = attrgetter(*compared) if compared else _no_values
            methods["__eq__"] = _eq(values)
            if "__hash__" not in vars(cls) or vars(cls)["__hash__"] is None:
                body["__hash__"] = _hash(values) if frozen else None
        if frozen:
            body["__setattr__"], body["__delattr__"] = _refuse_assignment, _refuse_deletion
            if slots and "__getstate__" not in vars(cls):
                body["__getstate__"], body["__setstate__"] = _getstate, _setstate
        for name, method in methods.items():
            if name not in vars(cls):
                method.__name__, method.__qualname__ = name, f"{cls.__qualname__}.{name}"
                body[name] = method
        if not slots:
            for name, value in body.items():
                setattr(cls, name, value)
            return cls
        inherited = {name for base in cls.__mro__[1:] for name in vars(base).get("__slots__", ())}
        body["__slots__"] = tuple(name for name in own if name not in inherited)
        body.pop("__dict__", None)
        body.pop("__weakref__", None)
        made: type = type(cls)(cls.__name__, cls.__bases__, body)
        made.__qualname__ = cls.__qualname__
        return made

    return decorate if cls is None else decorate(cls)


def replace(record: Any, /, **changes: Any) -> Any:
    """Return a copy of an object of a data class with some fields changed, as :func:`dataclasses.replace` does."""
    return type(record)(**{name: getattr(record, name) for name in record._record_fields} | changes)


def _no_values(record: object) -> tuple[()]:
    return ()


def _init(fields: dict[str, _Field], kw_only: bool) -> Callable[..., None]:
    """Return ``__init__``."""
    names = tuple(fields)
    positional = 0 if kw_only else len(names)
    needed = [
        each.name for each in fields.values() if each.default is _MISSING and each.default_factory is None
    ]
    rest = [
        (each.name, each.default, each.default_factory) for each in fields.values() if each.name not in needed
    ]

    def init_(self: Any, *args: Any, **kwargs: Any) -> None:
        if args:
            if len(args) > positional:
                raise TypeError(
                    f"{type(self).__name__} takes {positional} positional arguments but {len(args)} were given"
                )
            for name, value in zip(names, args, strict=False):
                if name in kwargs:
                    raise TypeError(f"{type(self).__name__} got multiple values for argument {name!r}")
                kwargs[name] = value
        for name, value in kwargs.items():
            if name not in fields:
                raise TypeError(f"{type(self).__name__} got an unexpected keyword argument {name!r}")
            _put(self, name, value)
        missing = [name for name in needed if name not in kwargs]
        if missing:
            raise TypeError(f"{type(self).__name__} is missing {', '.join(map(repr, missing))}")
        for name, default, factory in rest:
            if name not in kwargs:
                _put(self, name, default if factory is None else factory())
        if finish := getattr(self, "__post_init__", None):
            finish()

    return init_


def _repr(names: list[str]) -> Callable[[Any], str]:
    """Return ``__repr__``."""

    def repr_(self: Any) -> str:
        return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    return repr_


def _eq(values: Callable[[Any], object]) -> Callable[[Any, object], bool]:
    """Return ``__eq__``."""

    def eq_(self: Any, other: object) -> bool:
        return values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented

    return eq_


def _hash(values: Callable[[Any], object]) -> Callable[[Any], int]:
    """Return ``__hash__``."""

    def hash_(self: Any) -> int:
        return hash(values(self))

    return hash_


def _refuse_assignment(self: object, name: str, value: object) -> None:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_deletion(self: object, name: str) -> None:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _getstate(self: Any) -> list[Any]:
    return [getattr(self, name) for name in self._record_fields]


def _setstate(self: Any, state: list[Any]) -> None:
    for name, value in zip(self._record_fields, state, strict=True):
        _put(self, name, value)


class _OnDemand:
    """An attribute of a class that is made when somebody asks for it."""

    __slots__ = ("_made", "_make")

    def __init__(self, make: Callable[[type], object]) -> None:
        self._make = make
        self._made: object = None

    def __get__(self, instance: object, owner: type) -> object:
        if self._made is None:
            self._made = self._make(owner)
        return self._made


def _original(owner: type, fields: dict[str, _Field], kw_only: bool, frozen: bool) -> tuple[object, object]:
    """Return ``__dataclass_fields__`` and ``__dataclass_params__``."""
    import dataclasses

    rows = []
    for each in fields.values():
        options: dict[str, Any] = {"repr": each.repr, "compare": each.compare}
        if each.default is not _MISSING:
            options["default"] = each.default
        elif each.default_factory is not None:
            options["default_factory"] = each.default_factory
        rows.append((each.name, each.type, dataclasses.field(kw_only=kw_only, **options)))
    made = dataclasses.make_dataclass(owner.__name__, rows, init=False, repr=False, eq=False, frozen=frozen)
    return vars(made)["__dataclass_fields__"], vars(made)["__dataclass_params__"]


def _signature(fields: dict[str, _Field], kw_only: bool) -> object:
    """Return the signature of ``__init__`` for :func:`inspect.signature`."""
    from inspect import Parameter, Signature

    kind = Parameter.KEYWORD_ONLY if kw_only else Parameter.POSITIONAL_OR_KEYWORD
    parameters = []
    for each in fields.values():
        default = each.default
        if default is _MISSING:
            default = Parameter.empty if each.default_factory is None else each.default_factory
        parameters.append(Parameter(each.name, kind, default=default, annotation=each.type))
    return Signature(parameters, return_annotation=None)
