"""Verilog with plain names, which every tool takes and which no other design has."""

import re

TOP = "deltamoe"
"""The top module of the generated Verilog; names of the others begin with it and a dot."""

ESCAPED = re.compile(r"\\(\S+)(?=\s)")
"""An escaped identifier: a backslash, anything, and white space."""

WORD = re.compile(r"[A-Za-z_][\w$]*")


def plain(verilog: str, top: str) -> str:
    r"""Return generated Verilog with ``top`` as the name of its top module, and plain names.

    Yosys escapes what is a keyword, or no word: ``\deltamoe.datapath``, ``\begin``, ``\words$3``.
    Vendors' tools turn these into file names, constraints and paths of memories, each by rules of
    its own. The others become words here: ``top__datapath``, ``begin_``, ``words_3``. A name has
    the same word everywhere, since a port is named in two modules, and no two names have one, so
    the design stays the same. Names of all modules begin with ``top``: two accelerators may be in
    one design.
    """
    heading = f"module {TOP}("
    if verilog.count(heading) != 1:
        raise ValueError(f"the Verilog has no module {TOP}, or more than one")
    taken = {top, *WORD.findall(ESCAPED.sub("", verilog))}
    words: dict[str, str] = {}
    for name in sorted({*ESCAPED.findall(verilog)}):
        word = re.sub(r"\W|^(?=\d)", "_", name)
        if name.startswith(f"{TOP}."):
            word = top + name.removeprefix(TOP).replace(".", "__")
        while word in taken or word == name:
            word += "_"
        taken.add(word)
        words[name] = word
    return ESCAPED.sub(lambda found: words[found[1]], verilog).replace(heading, f"module {top}(")
