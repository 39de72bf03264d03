"""`statera` of another tree of the source, with those options of a configuration that it knows.

python former.py TREE agent --config FILE
"""

import sys
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import tomli_w
from msgspec.inspect import DictType, Field, StructType, Type, VarTupleType


def keep_known(kind: Type | Field, value: Any) -> Any:
    """Leave out of a value whatever its type has no field for."""
    match kind:
        case StructType(fields=fields):
            kinds = {field.encode_name: field.type for field in fields}
            return {name: keep_known(kinds[name], one) for name, one in value.items() if name in kinds}
        case DictType(value_type=inner):
            return {name: keep_known(inner, one) for name, one in value.items()}
        case VarTupleType(item_type=inner):
            return [keep_known(inner, one) for one in value]
    return value


def run(tree: str, words: list[str]) -> None:
    """Be the command of that tree."""
    sys.path.insert(0, tree)
    from statera.base import settings
    from statera.cli.main import main

    assert Path(settings.__file__).is_relative_to(tree), f"{settings.__file__} is not of {tree}"
    place = words.index("--config") + 1
    given = Path(words[place])
    known = keep_known(msgspec.inspect.type_info(settings.Settings), tomllib.loads(given.read_text(encoding="utf-8")))
    words[place] = str(given.with_name("former.toml"))
    Path(words[place]).write_text(tomli_w.dumps(known), encoding="utf-8")
    sys.argv = ["statera", *words]
    main()


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2:])
