"""Options that take one or more words: `--train A B` is `--train A --train B`."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand


def lists_of_words(*options: str) -> type[TyperCommand]:
    """The class of a command whose `options` may be followed by several words."""

    class ListsOfWords(TyperCommand):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            spread: list[str] = []
            option = ""
            for arg in args:
                if arg.startswith("-"):
                    option = arg
                elif option in options and spread[-1] != option:
                    spread.append(option)
                spread.append(arg)
            return super().parse_args(ctx, spread)

    return ListsOfWords
