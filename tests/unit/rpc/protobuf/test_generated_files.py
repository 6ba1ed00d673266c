"""Files of generated code, cut down to some methods and the types that they use."""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool

from fastrpc.rpc.protobuf.generated_files import CutFiles

FILE = descriptor_pb2.FileDescriptorProto
STRING, MESSAGE, ENUM = 9, 11, 14


def field(name: str, number: int = 1, kind: str = "", **more: Any) -> dict[str, Any]:
    typed = {"type": MESSAGE, "type_name": kind} if kind else {"type": STRING}
    return {"name": name, "number": number, "label": 1, **typed, **more}


def pool_of(*files: dict[str, Any]) -> Any:
    pool = descriptor_pool.DescriptorPool()
    for file in files:
        pool.Add(FILE(syntax="proto3", **file))
    return pool


def cut(found: CutFiles) -> dict[str, Any]:
    return {name: FILE.FromString(content) for name, content in found.files().items()}


OTHER = {
    "name": "other.proto",
    "package": "other",
    "message_type": [
        {"name": "Used", "field": [field("a")]},
        {"name": "Hidden", "field": [field("b")]},
    ],
}
UNUSED = {"name": "unused.proto", "message_type": [{"name": "Unused"}]}
SHOP = {
    "name": "shop.proto",
    "package": "shop",
    "dependency": ["other.proto", "unused.proto"],
    "message_type": [
        {
            "name": "Outer",
            "field": [field("hidden"), field("unused", 2, ".Unused")],
            "nested_type": [
                {
                    "name": "Inner",
                    "field": [
                        field("other", 1, ".other.Used", oneof_index=0),
                        field("again", 2, ".shop.Outer.Inner", oneof_index=0),
                    ],
                    "oneof_decl": [{"name": "one"}],
                },
                {"name": "Sibling"},
            ],
        },
    ],
    "service": [
        {
            "name": "Desk",
            "method": [
                {"name": "Get", "input_type": ".shop.Outer.Inner", "output_type": ".shop.Outer.Inner"},
                {"name": "Put", "input_type": ".shop.Outer", "output_type": ".shop.Outer"},
            ],
        }
    ],
}


def test_a_file_has_the_methods_their_messages_and_what_these_use() -> None:
    pool = pool_of(OTHER, UNUSED, SHOP)
    files = cut(CutFiles([(pool.FindServiceByName("shop.Desk"), ["Get"])]))
    assert set(files) == {"shop.proto", "other.proto"}
    shop = files["shop.proto"]
    assert list(shop.dependency) == ["other.proto"]
    assert [one.name for one in shop.service[0].method] == ["Get"]
    [outer] = shop.message_type
    assert (outer.name, list(outer.field), [one.name for one in outer.nested_type]) == (
        "Outer",
        [],
        ["Inner"],
    )
    assert [one.name for one in outer.nested_type[0].field] == ["other", "again"]
    assert [one.name for one in files["other.proto"].message_type] == ["Used"]
    made = descriptor_pool.DescriptorPool()
    for name in ("other.proto", "shop.proto"):
        made.Add(files[name])
    assert made.FindServiceByName("shop.Desk").methods[0].input_type.oneofs[0].name == "one"


def test_a_message_alone_brings_its_file() -> None:
    pool = pool_of(OTHER)
    [file] = cut(CutFiles([], [pool.FindMessageTypeByName("other.Used")])).values()
    assert ([one.name for one in file.message_type], list(file.service)) == (["Used"], [])


def test_options_are_left_out_but_for_those_that_change_meanings() -> None:
    pool = pool_of(
        {
            "name": "a.proto",
            "options": {"java_package": "hidden"},
            "message_type": [
                {
                    "name": "A",
                    "field": [
                        field("n", 1, label=3, type=5, options={"packed": False, "deprecated": True}),
                        field("kind", 2, type=ENUM, type_name=".Kind"),
                    ],
                    "reserved_name": ["hidden"],
                }
            ],
            "enum_type": [
                {
                    "name": "Kind",
                    "value": [{"name": "A0", "number": 0}, {"name": "A1", "number": 0}],
                    "options": {"allow_alias": True},
                    "reserved_name": ["hidden"],
                }
            ],
        }
    )
    [file] = cut(CutFiles([], [pool.FindMessageTypeByName("A")])).values()
    assert b"hidden" not in file.SerializeToString()
    numbers = file.message_type[0].field[0].options
    assert (numbers.HasField("packed"), numbers.packed, numbers.deprecated) == (True, False, True)
    assert file.enum_type[0].options.allow_alias


def test_features_of_editions_are_kept() -> None:
    features = {"features": {"field_presence": "IMPLICIT"}}
    pool = descriptor_pool.DescriptorPool()
    pool.Add(
        FILE(
            name="e.proto",
            syntax="editions",
            edition=descriptor_pb2.EDITION_2023,
            options=features,
            message_type=[{"name": "E", "field": [field("a"), field("b", 2)]}],
        )
    )
    [file] = cut(CutFiles([], [pool.FindMessageTypeByName("E")])).values()
    made = descriptor_pool.DescriptorPool()
    made.Add(file)
    assert (file.syntax, file.edition) == ("editions", descriptor_pb2.EDITION_2023)
    assert not made.FindMessageTypeByName("E").fields_by_name["a"].has_presence
