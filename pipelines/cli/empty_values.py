"""Refuse empty values on the command line. If DIR is not set, `--workdir "$DIR"` would mean the current folder."""

from typing import Any

from typer.core import TyperCommand

from components.shared.errors import InputError
from pipelines.cli.options import reporting_errors


class Command(TyperCommand):
    """A command that refuses empty texts, except for an argument or option whose default is an empty text."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments of the command. An empty text ends the process with exit status 2."""
        # The texts as they were given: `Path("")` is the same as `Path(".")`.
        texts, _, _ = self.make_parser(ctx).parse_args(list(args))
        with reporting_errors(debug=False):
            for parameter in self.params:
                if parameter.default != "" and _has_empty_text(texts.get(parameter.name)):
                    raise InputError(
                        f"{parameter.opts[0]} is an empty text; give a value, or leave {parameter.opts[0]} out"
                    )
        return super().parse_args(ctx, args)


def _has_empty_text(given: Any) -> bool:
    return "" in given if isinstance(given, list | tuple) else given == ""
