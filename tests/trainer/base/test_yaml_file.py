"""Strict YAML: what a reader sees is what is read, or a message with file and line."""

import math
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from losstune.trainer.base.yaml_file import MAX_BYTES, MAX_DEPTH, dump_yaml, parse_yaml, read_yaml
from tests.trainer.samples import refusal

SCALARS: list[tuple[str, object]] = [
    ("1e-3", 0.001),
    ("1E3", 1000.0),
    ("1.5e3", 1500.0),
    ("-2.5e+1", -25.0),
    (".5", 0.5),
    ("1.", 1.0),
    ("+3", 3),
    ("16", 16),
    ("010", 10),
    ("-0", 0),
    ("no", "no"),
    ("yes", "yes"),
    ("on", "on"),
    ("off", "off"),
    ("y", "y"),
    ("true", True),
    ("False", False),
    ("tRue", "tRue"),
    ("1:30", "1:30"),
    ("1_000", "1_000"),
    ("0x10", "0x10"),
    ("0o7", "0o7"),
    ("2026-01-02", "2026-01-02"),
    ("1e", "1e"),
    ("e5", "e5"),
    (".", "."),
    ("=", "="),
    ("<<", "<<"),
    ("", None),
    ("~", None),
    ("null", None),
    ("NULL", None),
    (".inf", math.inf),
    ("-.inf", -math.inf),
    ("'1e-3'", "1e-3"),
    ('"16"', "16"),
    ("'null'", "null"),
    ('""', ""),
    ("9" * 41, "9" * 41),
    ("[1, 2e-1, no]", [1, 0.2, "no"]),
    ("{a: 1, b: [x]}", {"a": 1, "b": ["x"]}),
]


class TestScalars:
    @pytest.mark.parametrize(("text", "value"), SCALARS)
    def test_plain_words_follow_the_core_schema(self, text: str, value: object) -> None:
        found = parse_yaml(f"a: {text}", "f").data["a"]
        assert found == value
        assert type(found) is type(value)

    @pytest.mark.parametrize("text", [".nan", ".NaN", ".NAN"])
    def test_nan(self, text: str) -> None:
        assert math.isnan(parse_yaml(f"a: {text}", "f").data["a"])

    def test_keys_are_always_text(self) -> None:
        assert list(parse_yaml("1: a\nno: b\n~: c\n1e-3: d", "f").data) == ["1", "no", "~", "1e-3"]


REFUSED = [
    ("a: 1\nb: 2\na: 3", "f:3: the key 'a' stands twice, first on line 1"),
    ("x:\n  a: 1\n  'a': 2", "f:3: the key 'a' stands twice, first on line 2"),
    ("a: &x 1\nb: *x", "f:1: anchors and aliases (& and *) are not allowed"),
    ("a: 1\nb: *x", "f:2: anchors and aliases (& and *) are not allowed"),
    ("a: &x [b, b]\nc: &y [*x, *x]", "f:1: anchors and aliases (& and *) are not allowed"),
    ("&root\na: 1", "f:1: anchors and aliases (& and *) are not allowed"),
    (
        "a: !!python/object/apply:os.system ['true']",
        "f:1: tags are not allowed, found tag:yaml.org,2002:python/object/apply:os.system",
    ),
    ("a: !!float 1", "f:1: tags are not allowed, found tag:yaml.org,2002:float"),
    ("a: 1\nb: !env X", "f:2: tags are not allowed, found !env"),
    ("", "f:1: expected a mapping of keys to values"),
    ("# only a comment\n", "f:1: expected a mapping of keys to values"),
    ("- a\n- b", "f:1: expected a mapping of keys to values"),
    ("just words", "f:1: expected a mapping of keys to values"),
    ("null", "f:1: expected a mapping of keys to values"),
    ("[a, b]: 1", "f:1: a key must be a plain word"),
    ("a: 1\n? {b: 2}\n: 3", "f:2: a key must be a plain word"),
    ("a: 1\n---\nb: 2", "f:2: but found another document"),
    ("a: [1, 2", "f:1: expected ',' or ']', but got '<stream end>'"),
    ("a: 1\n\tb: 2", "f:2: found character '\\t' that cannot start any token"),
    ("a: b: c", "f:1: mapping values are not allowed here"),
    ("a: 'open", "f:1: found unexpected end of stream"),
]


class TestRefusals:
    @pytest.mark.parametrize(("text", "message"), REFUSED)
    def test_what_is_not_one_strict_mapping_is_refused_by_line(self, text: str, message: str) -> None:
        assert refusal(parse_yaml, text, "f") == message

    def test_a_bomb_of_aliases_is_refused(self) -> None:
        levels = [f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]" for i in range(1, 40)]
        text = "\n".join(["l0: &l0 [lol]", *levels])
        assert refusal(parse_yaml, text, "f") == "f:1: anchors and aliases (& and *) are not allowed"

    @pytest.mark.parametrize(("opened", "closed"), [("[", "]"), ("{a: ", "}")])
    def test_nesting_is_bounded(self, opened: str, closed: str) -> None:
        allowed = MAX_DEPTH - 2  # the root and the innermost scalar are levels too
        assert parse_yaml(f"a: {opened * allowed}1{closed * allowed}", "f").data
        message = f"f:1: nested deeper than {MAX_DEPTH} levels"
        assert refusal(parse_yaml, f"a: {opened * (allowed + 1)}1{closed * (allowed + 1)}", "f") == message

    def test_nesting_without_end_is_refused(self) -> None:
        assert refusal(parse_yaml, "a: " + "[" * 100_000, "f") == f"f:1: nested deeper than {MAX_DEPTH} levels"

    def test_a_control_character_is_refused(self) -> None:
        assert refusal(parse_yaml, "a: \x00", "f").startswith("f: unacceptable character #x0000")

    def test_digits_without_end_are_no_number(self) -> None:
        assert isinstance(parse_yaml("a: " + "1" * 500_000, "f").data["a"], str)


class TestFiles:
    def test_a_file_is_read_with_the_lines_of_its_keys(self, tmp_path: Path) -> None:
        path = tmp_path / "a.yaml"
        path.write_text("# comment\nlr: 1e-3\nspace:\n  batch:\n    - 16\n    - 32\n")
        file = read_yaml(path)
        assert file.data == {"lr": 0.001, "space": {"batch": [16, 32]}}
        assert file.where("lr") == f"{path}:2"
        assert file.where("space", "batch") == f"{path}:4"
        assert file.where("space", "batch", 1) == f"{path}:6"

    def test_a_value_without_a_line_is_placed_at_what_is_around_it(self) -> None:
        file = parse_yaml("a: 1\nspace:\n  lr: 2", "f")
        assert file.where("space", "lr", "low") == "f:3"
        assert file.where("space", "missing") == "f:2"
        assert file.where("missing") == "f:1"

    def test_a_byte_order_mark_is_no_part_of_the_first_key(self, tmp_path: Path) -> None:
        path = tmp_path / "a.yaml"
        path.write_bytes(b"\xef\xbb\xbflr: 1\n")
        assert read_yaml(path).data == {"lr": 1}

    def test_a_missing_file_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "missing.yaml"
        assert refusal(read_yaml, path) == f"{path}: can not be read: No such file or directory"

    def test_a_folder_is_refused(self, tmp_path: Path) -> None:
        assert refusal(read_yaml, tmp_path) == f"{tmp_path}: can not be read: Is a directory"

    def test_text_that_is_not_utf_8_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "a.yaml"
        path.write_bytes("a: é".encode("latin-1"))
        assert refusal(read_yaml, path) == f"{path}: not UTF-8 text (byte 3)"

    def test_the_size_is_bounded(self, tmp_path: Path) -> None:
        path = tmp_path / "a.yaml"
        path.write_text("a: 1\n#" + "x" * (MAX_BYTES - 6))
        assert read_yaml(path).data == {"a": 1}
        path.write_text(path.read_text() + "x")
        message = f"{path}: larger than 1,000,000 bytes, the most a settings file may have"
        assert refusal(read_yaml, path) == message


keys = st.text(string.ascii_letters + string.digits + "_.+-", min_size=1, max_size=8)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8"), max_size=100)
    | st.from_regex(r"[-+]?[0-9._]*([eE][-+]?[0-9]+)?", fullmatch=True)
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3))


class TestRoundTrip:
    @given(st.floats(allow_nan=False))
    def test_a_float_survives_bit_for_bit(self, value: float) -> None:
        found = parse_yaml(dump_yaml({"a": value}), "f").data["a"]
        assert type(found) is float
        assert found.hex() == value.hex()

    @given(st.dictionaries(keys, values, min_size=1, max_size=4))
    def test_a_mapping_survives_in_value_type_and_order(self, data: dict[str, Any]) -> None:
        found = parse_yaml(dump_yaml(data), "f").data
        assert repr(found) == repr(data)

    @pytest.mark.parametrize(
        "text", ["1e-3", "12e4567", "089", "no", "1:30", "", "~", "\x85", "a\nb", " a ", "#", "&x"]
    )
    def test_text_that_looks_like_something_else_stays_text(self, text: str) -> None:
        assert parse_yaml(dump_yaml({"a": text, text: 1}), "f").data == {"a": text, text: 1}

    def test_a_value_that_stands_twice_is_written_twice(self) -> None:
        shared = [1, 2]
        assert parse_yaml(dump_yaml({"a": shared, "b": shared}), "f").data == {"a": [1, 2], "b": [1, 2]}
