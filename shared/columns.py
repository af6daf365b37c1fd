"""The columns of a file, made from the fields of a command: how a cell is read into one, and written from one."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo

from shared.database import Begin
from shared.names import Namespace
from shared.texts import Sourced, Text


class Form(Enum):
    """How a value is written in a cell."""

    TEXT = auto()
    NUMBER = auto()
    TRUTH = auto()
    WORDS = auto()
    """A list of words, with `; ` between them; as JSON when a word holds a `;`."""
    IDENTIFIERS = auto()
    """`system:id`, with `; ` between them."""
    VALUE = auto()
    """JSON."""
    NAME = auto()
    """What another thing is called."""
    NAMES = auto()


@dataclass(frozen=True)
class Column:
    """One column: its header, the field that it fills, and how."""

    header: str
    path: tuple[str, ...]
    """Where in the body, by the names that fields have outside: `("name", "nl")`."""
    form: Form
    space: Namespace | None = None
    """Where names are looked up."""
    needed: bool = False
    of_item: bool = False
    """Whether each line gives its own: an item of the list that `path` begins with."""

    @property
    def also(self) -> str:
        """The field's own name is taken as header too."""
        return ".".join(self.path[1:] if self.of_item else self.path)

    def read(self, cell: str) -> Any:
        """The value in a cell that is not empty; names as they are written. Raises ValueError with a sentence."""
        match self.form:
            case Form.NUMBER:
                if not cell.isascii() or not cell.removeprefix("-").isdigit() or len(cell) > 18:
                    raise ValueError("Write a whole number.")
                return int(cell)
            case Form.TRUTH:
                if cell.lower() not in _TRUTHS:
                    raise ValueError("Write true or false.")
                return _TRUTHS[cell.lower()]
            case Form.WORDS | Form.NAMES:
                return _listed(cell)
            case Form.IDENTIFIERS:
                return _identifiers(_listed(cell))
            case Form.VALUE:
                return _json(cell)
        return cell

    def write(self, value: Any, names: Mapping[Any, str]) -> str:
        """The cell of a value; empty for none. What cannot be seen from a value, a name, is looked up in `names`."""
        if value is None or value == [] or value == {}:
            return ""
        match self.form:
            case Form.TRUTH:
                return "true" if value else "false"
            case Form.NAME:
                return names.get(value, str(value))
            case Form.NAMES:
                return _joined([names.get(one, str(one)) for one in value])
            case Form.WORDS:
                return _joined(list(map(str, value)))
            case Form.IDENTIFIERS:
                return _joined([f"{system}:{id}" for system, id in sorted(value.items())])
            case Form.VALUE:
                return json.dumps(value, ensure_ascii=False)
        return str(value)


_TRUTHS = {"true": True, "false": False, "1": True, "0": False, "ja": True, "nee": False, "yes": True, "no": False}


def _listed(cell: str) -> list[str]:
    if not cell.startswith("["):
        return [word for part in cell.split(";") if (word := part.strip())]
    found = _json(cell)
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise ValueError('Write a list of words: one; two, or ["one", "two"].')
    return found


def _joined(words: list[str]) -> str:
    plain = "; ".join(words)
    return plain if _listed_as(plain, words) else json.dumps(words, ensure_ascii=False)


def _listed_as(plain: str, words: list[str]) -> bool:
    return not plain.startswith("[") and _listed(plain) == words


def _identifiers(written: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in written:
        system, colon, id = one.partition(":")
        if not colon or system in found:
            raise ValueError("Write external ids as system:id, one for each system.")
        found[system] = id
    return found


def _json(cell: str) -> Any:
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        raise ValueError("Write this as JSON, as the API takes it.") from None


def columns_of(command: type[BaseModel], spaces: Mapping[str, Namespace], *, item_of: str = "") -> list[Column]:
    """The columns of a command, its own fields first; `spaces` says of which fields the cells are names."""
    found = []
    for name, field in sorted(command.model_fields.items(), key=lambda one: _rank(one[0])):
        path = (*((item_of,) if item_of else ()), to_camel(name))
        found += _of_field(path, field, spaces.get(name), of_item=bool(item_of))
    return found


def _rank(name: str) -> int:
    """A noun's own fields come first, then how we know, then from when it holds."""
    return 2 if name in Begin.model_fields else 1 if name in Sourced.model_fields else 0


def _of_field(path: tuple[str, ...], field: FieldInfo, space: Namespace | None, *, of_item: bool) -> list[Column]:
    kind = _plain(field.annotation)
    header = path[-1]
    needed = field.is_required()
    if space is not None:
        many = get_origin(kind) is list
        name = header if many else header.removesuffix("Id")
        return [Column(name, path, Form.NAMES if many else Form.NAME, space, needed, of_item)]
    if kind is Text:
        return [Column(f"{header}.{one}", (*path, one), Form.TEXT, None, needed, of_item) for one in ("nl", "en")]
    return [Column(header, path, _form(kind), None, needed, of_item)]


def _form(kind: Any) -> Form:
    if get_origin(kind) is list:
        inner = _plain(get_args(kind)[0])
        return Form.WORDS if isinstance(inner, type) and issubclass(inner, str) else Form.VALUE
    if get_origin(kind) is dict:
        return Form.IDENTIFIERS
    if kind is bool:
        return Form.TRUTH
    if kind is int:
        return Form.NUMBER
    return Form.VALUE if isinstance(kind, type) and issubclass(kind, BaseModel) else Form.TEXT


def _plain(annotation: Any) -> Any:
    """The kind behind Annotated, and beside None."""
    if get_origin(annotation) is Annotated:
        return _plain(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return _plain(next(one for one in get_args(annotation) if one is not NoneType))
    return annotation
