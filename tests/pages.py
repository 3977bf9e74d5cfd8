"""Pages as programs: the code of a Markdown page runs from top to bottom, in one namespace and one folder.

A fence of ``python`` is a doctest where it has prompts, else a script. In a fence of ``console`` the lines that begin
with ``$ fwfm-gpu`` run; what follows is their output, ``...`` standing for anything, and where nothing follows any
output will do. Other commands (pip, make) are only read. ``<!-- needs: torch, gpu -->`` before a fence names what it
needs: where that is missing, it is left out. ``<!-- not run: why -->`` is for commands that tests of their own run.
"""

from __future__ import annotations

import doctest
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
NOT_RUN = "not run here"
FENCE = re.compile(r"^\s*```+(\w*)\s*$")
NEEDS = re.compile(r"^<!-- (needs|not run): (.*) -->$")


@dataclass(frozen=True)
class Fence:
    """Some code of a page."""

    language: str
    text: str
    line: int  # of its first line in the page, from 0
    needs: tuple[str, ...]


def fences(page: str) -> Iterator[Fence]:
    """All code of a page, in order."""
    needs: tuple[str, ...] = ()
    language, first, held = "", 0, None
    for number, line in enumerate(page.splitlines()):
        if held is None:
            if found := NEEDS.match(line):
                needs = tuple(name.strip() for name in found[2].split(",")) if found[1] == "needs" else (NOT_RUN,)
            elif found := FENCE.match(line):
                language, first, held = found[1], number + 1, []
        elif FENCE.match(line):
            yield Fence(language, "\n".join(held) + "\n", first, needs)
            needs, held = (), None
        else:
            held.append(line)


def missing(needs: tuple[str, ...]) -> list[str]:
    """Which of the things needed are not there."""
    return [name for name in needs if name == NOT_RUN or not (has_gpu() if name == "gpu" else find_spec(name))]


def has_gpu() -> bool:
    """Whether a GPU answers."""
    from conftest import missing_gpu

    return missing_gpu() is None


def run_page(page: str, name: str, main: Any = None) -> list[str]:
    """Run all code of a page in the current folder.

    Returns
    -------
    What was left out, and for want of what.

    Raises
    ------
    AssertionError
        Something printed is not what the page says.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    left_out = []
    for fence in fences(page):
        if lacking := missing(fence.needs):
            left_out.append(f"{name}:{fence.line}: {', '.join(lacking)}")
        elif fence.language == "python" and ">>>" in fence.text:
            run_doctest(fence, name, names)
        elif fence.language == "python":
            exec(compile("\n" * fence.line + fence.text, name, "exec"), names)
        elif fence.language == "console":
            run_console(fence, name, main)
    return left_out


def run_doctest(fence: Fence, name: str, names: dict[str, Any]) -> None:
    """Examples with prompts; the namespace goes on."""
    test = doctest.DocTestParser().get_doctest(fence.text, {}, name, name, fence.line)
    test.globs = names
    told: list[str] = []
    result = doctest.DocTestRunner(optionflags=FLAGS).run(test, out=told.append, clear_globs=False)
    assert not result.failed, "".join(told)


def run_console(fence: Fence, name: str, main: Any) -> None:
    """The commands of this package."""
    for command, expected in commands(fence.text):
        words = shlex.split(command, comments=True)
        if words[:1] != ["fwfm-gpu"]:
            continue
        printed, code = main(words[1:])
        assert code == 0, f"{name}:{fence.line}: {command} ended with {code}: {printed}"
        wanted = re.sub(r"^\.\.\.$", "...", expected, flags=re.MULTILINE)
        matches = doctest.OutputChecker().check_output(wanted, printed, FLAGS)
        assert not wanted.strip() or matches, f"{name}:{fence.line}: {command} printed:\n{printed}"


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Each command of a console, and what it prints; a backslash at the end goes on."""
    for part in re.split(r"^\$ ", text.replace("\\\n", ""), flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        yield command, expected
