"""A group of commands that answers a misspelt name with the nearest one."""

from __future__ import annotations

import difflib

import click


class GuessingGroup(click.Group):
    """As click's, which guesses options but not commands."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(ctx)
        near = difflib.get_close_matches(args[0], known, 1)
        if near and args[0] not in known:
            ctx.fail(f"No such command {args[0]!r}. Did you mean {near[0]}?")
        return super().resolve_command(ctx, args)
