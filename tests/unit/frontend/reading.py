"""Reading texts in tests: what comes of them, and what is said about them, in one line each."""

from __future__ import annotations

from npcompile.diagnostics.errors import InputError
from npcompile.diagnostics.model import Diagnostic, Severity
from npcompile.frontend import Loaded, load
from npcompile.ir.cluster import Cluster, Pod
from npcompile.ir.policy import Policy
from npcompile.source import SourceFile

HEAD = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n"


def read(*texts: str, path: str = "a.yaml") -> Loaded:
    """What texts come to; each is a file (a.yaml, b.yaml, ...)."""
    paths = [path] if len(texts) == 1 else [f"{letter}.yaml" for letter in "abcdefgh"]
    return load(SourceFile(path=path, text=text) for path, text in zip(paths, texts, strict=False))


def refusal(*texts: str, path: str = "a.yaml") -> list[Diagnostic]:
    """The errors that texts are refused with."""
    try:
        loaded = read(*texts, path=path)
    except InputError as error:
        return [one for one in error.diagnostics if one.severity is Severity.ERROR]
    raise AssertionError(f"read without an error: {loaded.program}")


def line(diagnostic: Diagnostic) -> str:
    """A diagnostic as `line:column code message`."""
    span = diagnostic.span
    place = f"{span.line}:{span.column} " if span else ""
    return f"{place}{diagnostic.rule.code} {diagnostic.message}"


def refused(*texts: str, path: str = "a.yaml") -> list[str]:
    """The errors that texts are refused with, each as `line:column code message`."""
    return [line(one) for one in refusal(*texts, path=path)]


def said(*texts: str, path: str = "a.yaml") -> list[str]:
    """What is said about texts that are read."""
    return [line(one) for one in read(*texts, path=path).diagnostics]


def policies(*texts: str, path: str = "a.yaml") -> tuple[Policy, ...]:
    """The policies of texts."""
    return read(*texts, path=path).program.policies


def cluster(*texts: str) -> Cluster:
    """The cluster of texts."""
    return read(*texts).program.cluster


def pod(*texts: str) -> Pod:
    """The only pod of texts."""
    (only,) = cluster(*texts).pods
    return only


def with_spec(spec: str) -> str:
    """A policy with a spec in flow style."""
    return f"{HEAD}metadata: {{name: p}}\nspec: {spec}\n"
