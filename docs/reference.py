# -*- test-case-name: tests.test_docs -*-
"""
What the manual's pages take from the code itself, so that it can't be wrong there.

A page holds a line such as C{<!-- options -->}; C{conf.py} has it replaced while Sphinx
reads the page.  All text is Markdown as myst-parser reads it.
"""

from __future__ import annotations

import json
import re
from argparse import SUPPRESS, Action, ArgumentParser, _SubParsersAction
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from oslo_config import cfg

_PLACE = re.compile(r"^<!-- ([a-z-]+) -->$", re.MULTILINE)
#: What Markdown would take for its own.
_MARKUP = re.compile(r"([\\`*_\[\]<>{}|])")


def filled_in(page: str) -> str:
    """
    Put what is written by the code into a page.

    @param page: The page's Markdown.

    @raise KeyError: If it asks for what nobody writes.
    """
    return _PLACE.sub(lambda place: WRITTEN[place[1]](), page)


def plain(text: str) -> str:
    """
    Write a text so that Markdown takes it as it is.
    """
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))


def options() -> str:
    """
    Write every option, section by section, in the order of C{etc/mdproxy.conf}.
    """
    from mdproxy.options import LISTENER_OPTIONS, LISTENER_TITLE, SECTIONS, TITLES

    parts: list[str] = []
    for name, declared in SECTIONS.items():
        parts += _section(name, TITLES[name], declared)
        if name == "leases":
            parts += _section("listener:NAME", LISTENER_TITLE, LISTENER_OPTIONS)
    return "\n".join(parts)


def _section(name: str, title: str, declared: tuple[cfg.Opt, ...]) -> Iterator[str]:
    """
    Write one section of the configuration.
    """
    from mdproxy.options import shown

    yield f"### `[{name}]`\n\n{plain(title)}\n"
    for option in declared:
        default = "" if option.secret else shown(option.default)
        yield f"`{option.name}`{f' (default: `{default}`)' if default else ''}"
        yield f": {plain(option.help or '')}\n"


def commands() -> str:
    """
    Write every subcommand of C{mdproxyctl} with its arguments; those that most of them
    have come first, once.
    """
    from mdproxy.cli import parser

    found = subcommands(parser())
    shared = _shared([command for _, command in found])
    parts = [*map(_argument, shared.values()), "## Commands\n"]
    for name, command in found:
        command.prog = f"mdproxyctl {name}"
        usage = " ".join(command.format_usage().removeprefix("usage: ").split())
        parts += [f"### mdproxyctl {name}\n", f"`{usage.replace(' [-h]', '')}`\n"]
        parts.append(f"{plain(_sentence(command.description or ''))}\n")
        own = [each for each in arguments_of(command) if _key(each) not in shared]
        parts += map(_argument, own)
    return "\n".join(parts)


def subcommands(parser: ArgumentParser) -> list[tuple[str, ArgumentParser]]:
    """
    Find the subcommands of a command.
    """
    return [
        (name, command)
        for action in parser._actions
        if isinstance(action, _SubParsersAction)
        for name, command in action.choices.items()
    ]


def arguments_of(command: ArgumentParser) -> list[Action]:
    """
    Find the arguments of a command that users are told of.
    """
    return [
        action
        for action in command._actions
        if action.dest != "help" and action.help != SUPPRESS
    ]


def _key(argument: Action) -> tuple[str, str]:
    """
    Tell whether two commands' arguments are one.
    """
    return " ".join(argument.option_strings) or argument.dest, argument.help or ""


def _shared(commands: list[ArgumentParser]) -> dict[tuple[str, str], Action]:
    """
    Find the options that more than two commands have.
    """
    found: dict[tuple[str, str], list[Action]] = {}
    for command in commands:
        for argument in arguments_of(command):
            if argument.option_strings:
                found.setdefault(_key(argument), []).append(argument)
    return {key: each[0] for key, each in found.items() if len(each) > 2}


def _argument(argument: Action) -> str:
    """
    Write one argument.
    """
    value = argument.metavar or argument.dest.upper()
    names = [f"`{name}`" for name in argument.option_strings] or [f"`{value}`"]
    if argument.option_strings and argument.nargs != 0:
        names[-1] = f"{names[-1][:-1]} {value}`"
    about = (argument.help or "") % {"default": argument.default, "prog": "mdproxyctl"}
    return f"{', '.join(names)}\n: {plain(_sentence(about))}\n"


def _sentence(text: str) -> str:
    """
    Make a sentence of a phrase.
    """
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def metrics() -> str:
    """
    Write every metric.
    """
    from mdproxy.introspection.metrics import described

    lines = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    for name, kind, labels, about in described():
        words = ", ".join(f"`{label}`" for label in labels)
        lines.append(f"| `{name}` | {kind} | {words} | {plain(about)} |")
    return "\n".join(lines)


def alerts() -> str:
    """
    Write every alert with what it means.
    """
    rules = Path(__file__).parent.parent / "etc" / "prometheus" / "mdproxy.rules.yml"
    lines = ["| alert | severity | when |", "|---|---|---|"]
    for group in yaml.safe_load(rules.read_text("utf-8"))["groups"]:
        for rule in group["rules"]:
            when = re.sub(r"{{.*?}}", "…", rule["annotations"]["summary"])
            severity = rule["labels"]["severity"]
            lines.append(f"| `{rule['alert']}` | {severity} | {plain(when)} |")
    return "\n".join(lines)


def interface() -> dict[str, Any]:
    """
    Read the description of the JSON interface.
    """
    described = files("mdproxy.introspection").joinpath("openapi.json")
    document: dict[str, Any] = json.loads(described.read_text("utf-8"))
    return document


def paths() -> str:
    """
    Write every path of the JSON interface with its parameters.
    """
    parts: list[str] = []
    for path, methods in interface()["paths"].items():
        for method, about in methods.items():
            if method not in ("get", "post"):
                continue
            parts += [f"`{method.upper()} {path}`", f": {_marked(about['summary'])}"]
            parts += [_parameter(each) for each in about.get("parameters", ())]
            parts.append("")
    return "\n".join(parts)


def _marked(text: str) -> str:
    """
    Write a text in which code stands between backquotes.
    """
    return plain(text).replace("\\`", "`")


def _parameter(parameter: dict[str, Any]) -> str:
    """
    Write one parameter of a path.
    """
    if "$ref" in parameter:
        name = parameter["$ref"].rpartition("/")[2]
        parameter = interface()["components"]["parameters"][name]
    about = _marked(parameter.get("description", ""))
    return f"\n  `{parameter['name']}`: {about}"


def rules() -> str:
    """
    Write the decision table.
    """
    from mdproxy.introspection.sentences import RULES

    lines = ["| row | rule |", "|---|---|"]
    lines += [f"| {row} | {plain(rule)} |" for row, rule in RULES.items()]
    return "\n".join(lines)


def reasons() -> str:
    """
    Write what each verdict means and what to do, refusals first.
    """
    from mdproxy.introspection.sentences import MEANINGS

    parts: list[str] = []
    for word in ("refused", "allowed"):
        parts.append(f"### {word.capitalize()}\n")
        for (verdict, reason), text in MEANINGS.items():
            if verdict == word:
                named = re.sub(r"\\{([\w\\]+)\\}", r"*\1*", plain(text))
                parts += [f"`{reason.value}`", f": {named}\n"]
    return "\n".join(parts)


def outcomes() -> str:
    """
    Write what may have become of a request, with what its instance was told.
    """
    from mdproxy.introspection.sentences import OUTCOMES
    from mdproxy.proxy import STATUSES

    told = {cause.__name__: str(status) for cause, (status, *_) in STATUSES.items()}
    lines = ["| outcome | status | what happened, and what to do |", "|---|---|---|"]
    for name in dict.fromkeys((*told, *OUTCOMES)):
        text = OUTCOMES.get(name, "The caller was refused: see its reason above.")
        text = text.replace("{request_id}", "the request's id")
        lines.append(f"| `{name}` | {told.get(name, '-')} | {plain(text)} |")
    return "\n".join(lines)


#: What a page may ask for.
WRITTEN = {
    "alerts": alerts,
    "options": options,
    "outcomes": outcomes,
    "commands": commands,
    "metrics": metrics,
    "paths": paths,
    "reasons": reasons,
    "rules": rules,
}
