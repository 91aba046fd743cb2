"""Options that several verbs have, each written once."""

from typing import Final

import click

FORMS: Final = ("text", "json")

text_or_json = click.option(
    "--format", "form", type=click.Choice(FORMS), default="text", help="How it comes out."
)
"""``--format text|json``, for a thing; rows have table, json and csv."""

not_older = click.option(
    "--since", default="", metavar="TIME", help="Not older: 30d, a date, RFC 3339."
)
older_than = click.option("--until", default="", metavar="TIME", help="Older than this.")
"""The window of a verb, whose texts ``query.when`` reads."""
