"""Names of packaged Verilog: words, each the same everywhere, and none for two."""

import re

import pytest

from deltamoe.boards import PRESETS
from deltamoe.boards.packages.names import plain
from deltamoe.boards.verilator.engine import verilog
from tests.boards.packages.cores import small

TOKEN = re.compile(r'"[^"]*"|\d*\'[hdb][0-9a-fxz?]+|\\\S+(?=\s)|[A-Za-z_][\w$]*|\d+|\S')


def test_the_design_is_the_same_but_for_its_names() -> None:
    """All else is equal, token by token, and names are mapped one to one through all of it."""
    before, after = (TOKEN.findall(text) for text in (
        verilog(PRESETS["nano"]), small("nano").verilog))
    pairs = set(zip(before, after, strict=True))
    assert all(old == new or old[0] == "\\" or old == "deltamoe" for old, new in pairs)
    assert len({old for old, _ in pairs}) == len({new for _, new in pairs}) == len(pairs)


def test_names_are_words_and_modules_begin_with_the_top() -> None:
    text = small("nano").verilog
    assert "\\" not in text
    modules = re.findall(r"^module (\S+?) ?\(", text, re.MULTILINE)
    assert len(set(modules)) == len(modules) > 100
    assert modules[0] == "deltamoe_nano"
    assert all(re.fullmatch(r"deltamoe_nano(__\w+)?", module) for module in modules)
    memories = re.findall(r"^  reg (?:\[\d+:0\] )?(\S+)\s+\[\d+:0\];", text, re.MULTILINE)
    assert len(memories) > 50
    assert all(re.fullmatch(r"[A-Za-z_]\w*", memory) for memory in memories)


def test_words_differ_where_names_do() -> None:
    """Of a keyword, of names that only signs tell apart, of one that is there as a word."""
    text = ("module deltamoe(a);\nwire \\begin , \\a.b , \\a$b , a_b, \\3 ;\n"
            "\\deltamoe.x.y  y();\nmodule \\deltamoe.x.y ();\n")
    assert plain(text, "top").split("\n") == [
        "module top(a);", "wire begin_ , a_b__ , a_b_ , a_b, _3 ;",
        "top__x__y  y();", "module top__x__y ();", ""]


def test_verilog_without_the_top_is_refused() -> None:
    with pytest.raises(ValueError, match="has no module deltamoe"):
        plain("module other(a);\n", "top")
