"""Attribute mapping and condition of a federation provider, evaluated.

The expressions are CEL, as Google evaluates them: a guide that is copied into
a test is tried here word for word.
"""

from __future__ import annotations

import functools
import re
from typing import Any

from .forms import Refusal

# What Google does when an AWS provider has no mapping.
AWS_DEFAULT = {
    "google.subject": "assertion.arn",
    "attribute.aws_role":
        "assertion.arn.contains('assumed-role')"
        " ? assertion.arn.extract('{account_arn}assumed-role/')"
        " + 'assumed-role/'"
        " + assertion.arn.extract('assumed-role/{role_name}/')"
        " : assertion.arn",
}

_TARGET = re.compile(r"google\.(subject|groups|display_name|profile_photo"
                     r"|posix_username|email)\Z|attribute\.[a-z0-9_]{1,100}\Z")


def extract(text: str, template: str) -> str:
    """Google's extract(): the text between the template's two fixed parts."""
    match = re.fullmatch(r"([^{}]*)\{[^{}]+\}([^{}]*)", template)
    if match is None:
        raise ValueError(f"bad template {template}")
    before, after = match.groups()
    start = text.find(before)
    if start < 0:
        return ""
    start += len(before)
    end = text.find(after, start) if after else len(text)
    return "" if end < 0 else text[start:end]


@functools.lru_cache(maxsize=256)
def _program(expression: str) -> Any:
    # Only who declares a provider needs the library.
    import celpy
    from celpy.celtypes import ListType, StringType

    functions = {
        "extract": lambda text, template:
            StringType(extract(str(text), str(template))),
        "split": lambda text, separator: ListType(
            StringType(part) for part in str(text).split(str(separator))),
        "join": lambda items, separator="":
            StringType(str(separator).join(str(item) for item in items)),
        "lowerAscii": lambda text: StringType(str(text).lower()),
        "upperAscii": lambda text: StringType(str(text).upper()),
        "replace": lambda text, old, new:
            StringType(str(text).replace(str(old), str(new))),
    }
    environment = celpy.Environment()
    return environment.program(environment.compile(expression),
                               functions=functions)


def _evaluate(expression: str, variables: dict[str, Any]) -> Any:
    import celpy
    cel = {name: celpy.json_to_cel(value)
           for name, value in variables.items()}
    return _plain(_program(expression).evaluate(cel))


def _plain(value: Any) -> Any:
    from celpy import celtypes
    if isinstance(value, celtypes.BoolType):
        return bool(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def check(mapping: dict[str, str], condition: str | None) -> None:
    """Refuse, when it is declared, what Google refuses to store."""
    import celpy
    if "google.subject" not in mapping:
        raise ValueError("there must be a mapping of google.subject")
    for target, expression in mapping.items():
        if not _TARGET.match(target):
            raise ValueError(f"bad target of a mapping: {target}")
        if len(expression.encode()) > 2048:
            raise ValueError(f"too long an expression for {target}")
    for expression in [*mapping.values(), *([condition] if condition else [])]:
        try:
            _program(expression)
        except celpy.CELParseError as error:
            raise ValueError(f"not CEL: {expression}: {error}") from None


def evaluate(mapping: dict[str, str], condition: str | None,
             assertion: dict[str, Any]) -> tuple[dict[str, Any],
                                                 dict[str, Any]]:
    """google.* and attribute.* of an assertion, or the refusal."""
    import celpy
    google: dict[str, Any] = {}
    attribute: dict[str, Any] = {}

    for target, expression in mapping.items():
        where, _, name = target.partition(".")
        try:
            value = _evaluate(expression, {"assertion": assertion})
        except celpy.CELEvalError:
            if target == "google.subject":
                raise Refusal("invalid_request", "Could not obtain a value "
                              "for google.subject from the given "
                              "credential.") from None
            continue                       # an attribute that is not there
        if name == "groups":
            if not isinstance(value, list) or not all(
                    isinstance(item, str) for item in value):
                raise Refusal("invalid_request", "The mapped attribute "
                              "google.groups must be of type LIST of "
                              "STRING.")
        elif isinstance(value, bool):
            value = "true" if value else "false"
        elif not isinstance(value, str):
            raise Refusal("invalid_request", f"The mapped attribute {target} "
                          "must be of type STRING.")
        (google if where == "google" else attribute)[name] = value

    subject = google["subject"]
    if not subject:
        raise Refusal("invalid_request", "Could not obtain a value for "
                      "google.subject from the given credential.")
    if len(subject.encode()) > 127:
        raise Refusal(
            "invalid_request", "The size of mapped attribute google.subject "
            "exceeds the 127 bytes limit. Either modify your attribute "
            "mapping or the incoming assertion to produce a mapped attribute "
            "that is less than 127 bytes.")

    if condition:
        try:
            accepted = _evaluate(condition, {
                "assertion": assertion, "google": google,
                "attribute": attribute})
        except celpy.CELEvalError:
            accepted = False
        if accepted is not True:
            raise Refusal("unauthorized_client", "The given credential is "
                          "rejected by the attribute condition.", 401)
    return google, attribute
