"""What can be commanded? The `dripd` command: nouns, then verbs.

A command's module is loaded when it is used, so that asking the daemon a question loads
neither an event loop nor a database driver. Errors end here: `[code] what, where`, what to do
on the next line, and the exit code of its class.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

import click

from dripd.cli.output import print_error
from dripd.errors import BadRequest, DripdError, near

COMMANDS: Final = {
    "account": ("account:account", "Tenants: their plan, zone, window and rate."),
    "adopt": ("deployment:adopt", "Let a restored copy of a database send again."),
    "alert": ("alert:alert", "What somebody should look at."),
    "audit": ("audit:audit", "Who did what."),
    "call": ("shell:call", "One raw call of the admin protocol."),
    "campaign": ("campaign:campaign", "Sequences: files, drafts, versions, state."),
    "clock": ("clock:clock", "The manual clock."),
    "console": ("console:console", "Supervise the deployment from a terminal."),
    "completion": ("shell:completion", "Completion for a shell."),
    "config": ("config:config", "Check and show the configuration."),
    "contact": ("contact:contact", "The people that campaigns reach."),
    "bench": ("bench:bench", "What is said to be fast, shown on this machine."),
    "db": ("db:db", "The embedded Postgres, and the schema."),
    "demo": ("demo:demo", "The product, telling its own story."),
    "dead": ("dead:dead", "What failed for good."),
    "delivery": ("delivery:delivery", "Messages and what became of them."),
    "doctor": ("doctor:doctor", "What is wrong here, and how to mend it."),
    "enroll": ("enroll:enroll", "Runs of contacts through campaigns."),
    "event": ("event:event", "Something that a contact did."),
    "list": ("lists:lists", "Named sets of contacts."),
    "logs": ("logs:logs", "The daemon's own log."),
    "node": ("node:node", "The daemons on this database."),
    "notification": ("notification:notification", "What people were told."),
    "connector": ("connector:connector", "Outside servers that steps call."),
    "operator": ("operator:operator", "Who may act in an account."),
    "pause": ("deployment:pause", "Hold every account."),
    "ready": ("deployment:ready", "Exit 0 if the daemon is ready for work."),
    "resume": ("deployment:resume", "Let every account go on."),
    "run": ("daemon:run", "The daemon in the foreground."),
    "selftest": ("proof:selftest", "The long proofs, on this machine."),
    "sender": ("sender:sender", "Addresses and numbers to send from."),
    "sink": ("proof:sink", "The test provider, which misbehaves on purpose."),
    "status": ("deployment:status", "How the deployment is."),
    "suppress": ("suppress:suppress", "Addresses never to be reached."),
    "task": ("task:task", "What a person must do."),
    "version": ("deployment:version", "Versions of this command and of the daemon."),
    "whoami": ("deployment:whoami", "Who you are to the daemon, and why."),
}
"""Every command, with where it is and what it is for."""

INTERRUPTED: Final = 130
USAGE: Final = 2


class Nouns(click.Group):
    """A group that loads a command when it is asked for."""

    def list_commands(self, _: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, _: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, _colon, attribute = COMMANDS[name][0].partition(":")
        found: click.Command = getattr(import_module(f"dripd.cli.{module}"), attribute)
        if "_DRIPD_COMPLETE" in os.environ:
            import_module("dripd.cli.names").teach(name, found)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            hint = near(name, COMMANDS).capitalize()
            ctx.fail(f"No such command {name!r}. {hint}".rstrip())
        return super().resolve_command(ctx, args)

    def format_commands(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in sorted(COMMANDS)])


@click.group(cls=Nouns, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--socket", help="The daemon's socket (DRIPD_SOCKET).")
@click.option("--timeout", type=float, help="Seconds to wait for each answer (30).")
def dripd(socket: str | None, timeout: float | None) -> None:
    """Drip campaigns out of a Postgres database."""


def main(args: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    given = list(sys.argv[1:] if args is None else args)
    as_json = "--json" in given
    try:
        code = dripd.main(given, prog_name="dripd", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except DripdError as error:
        print_error(error, as_json=as_json)
        return error.exit_code
    except click.ClickException as error:
        return refuse_usage(error, as_json=as_json)
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        drop_output()
        return 0
    except OSError as error:
        drop_output()
        message = error.strerror or str(error)
        print_error(DripdError(message, path=str(error.filename or "")), as_json=as_json)
        return DripdError.exit_code
    return code if isinstance(code, int) else 0


def drop_output() -> None:
    """What is written yet goes nowhere: Python would try it again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def refuse_usage(error: click.ClickException, *, as_json: bool) -> int:
    if as_json:
        context, param = getattr(error, "ctx", None), getattr(error, "param", None)
        path = param.opts[0] if param is not None else ""
        hint = f"{context.command_path if context is not None else 'dripd'} --help"
        told = BadRequest(error.format_message(), code="usage", path=path, hint=hint)
        print_error(told, as_json=True)
    else:
        error.show()
    return USAGE


if __name__ == "__main__":
    sys.exit(main())
