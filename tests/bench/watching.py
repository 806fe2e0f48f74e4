"""Clients that search while something is done to a collection, and what each of them saw in each step."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from connector.milvus.client import connect
from connector.milvus.settings import MilvusSettings
from connector.milvus.sink import MilvusSink

PAUSE, SHOWN, TOLERANCE = 0.05, 5, 1e-3

Command: TypeAlias = Callable[[str], tuple[int, str, float]]
"""Runs a command line: exit code, what it printed, seconds."""


@dataclass
class Client:
    """Searches until it is told to stop, and counts by step.

    Attributes:
        name: For the table.
        ask: Gives one answer: (key, distance) of each hit.
        judge: Names the model that an answer comes from; "" if it is none's.
    """

    name: str
    ask: Callable[[str], list[tuple[str, float]]]
    judge: Callable[[str, list[tuple[str, float]]], str]
    keys: list[str]
    step: str = "before"
    seconds: dict[str, list[float]] = field(default_factory=dict)
    answers: Counter[tuple[str, str]] = field(default_factory=Counter)
    errors: Counter[tuple[str, str]] = field(default_factory=Counter)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """The loop."""
        number = 0
        while not self.stop.wait(PAUSE):
            key, step, begun = self.keys[number % len(self.keys)], self.step, time.perf_counter()
            number += 1
            try:
                found = self.ask(key)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
                self.errors[step, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"] += 1
                continue
            self.seconds.setdefault(step, []).append(time.perf_counter() - begun)
            self.answers[step, self.judge(key, found) or "mixed"] += 1

    @property
    def mixed(self) -> int:
        """Answers that are no model's."""
        return sum(count for (_, model), count in self.answers.items() if model == "mixed")


class Models:
    """The vectors of each generation, by which an answer is told to be one model's."""

    def __init__(self, settings: MilvusSettings, spec: Any) -> None:
        self._settings, self._spec = settings, spec
        self._known: dict[str, dict[str, Any]] = {}

    def learn(self, name: str, collection: str, dim: int) -> None:
        """Reads a generation."""
        there = self._spec.model_copy(update={"vectors": (self._spec.vectors[0].model_copy(update={"dim": dim}),)})
        with connect(self._settings) as connection:
            rows = MilvusSink(connection, collection, there).scan(None, ["id", "vector"])
            self._known[name] = {row["id"]: row["vector"] / np.linalg.norm(row["vector"]) for row in rows}

    def vector(self, name: str, key: str) -> Any:
        """A row's vector in a model."""
        return self._known[name][key]

    def judge(self, key: str, found: list[tuple[str, float]]) -> str:
        """The model whose distances an answer has, all of them."""
        for name, vectors in list(self._known.items()):
            if len(found) == SHOWN and all(abs(float(vectors[key] @ vectors[one]) - near) < TOLERANCE for one, near in found):
                return name
        return ""


@dataclass
class Transcript:
    """Does the steps and prints them.

    Attributes:
        command: Runs a command line.
        clients: What searches meanwhile.
        problems: What must not have happened.
    """

    command: Command
    clients: list[Client]
    steps: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def step(self, line: str, *, code: int = 0, says: str = "", command: Command | None = None) -> float:
        """One command, and what it must end with and say."""
        name = line.replace(" job.yaml", "")
        again = sum(one.split(" (")[0] == name for one in self.steps)
        self._enter(f"{name} ({again + 1})" if again else name)
        print(f"$ connector {line}", flush=True)
        found, text, took = (command or self.command)(line)
        print(f"{text.rstrip()}\n  -> exit code {found}, {took:.1f} s\n", flush=True)
        if found != code or says not in text:
            self.problems.append(f"`connector {line}` ended with {found}, wanted {code}{f' and {says!r}' if says else ''}")
        self._enter("pauses after steps")
        time.sleep(20 * PAUSE)
        return took

    def _enter(self, step: str) -> None:
        self.steps += [step] if step not in self.steps else []
        for one in self.clients:
            one.step = step

    def table(self) -> str:
        """What each client saw in each step."""
        lines = [f"{'during':<44}{'client':<18}{'answers':<26}{'errors':>7}{'p50':>10}{'p99':>10}"]
        for step in ["before", *self.steps]:
            for one in self.clients:
                models = ", ".join(f"{count} {model}" for (during, model), count in sorted(one.answers.items()) if during == step)
                errors = sum(count for (during, _), count in one.errors.items() if during == step)
                lines.append(f"{step[:42]:<44}{one.name:<18}{models or '-':<26}{errors:>7}{_latency(one.seconds.get(step, []))}")
        for one in self.clients:
            whole = sum(one.answers.values()) - one.mixed
            lines.append(f"{one.name}: {whole} whole answers, {one.mixed} mixed, {sum(one.errors.values())} errors")
            lines += [f"    {count} x {said}" for said, count in _summed(one.errors).most_common(4)]
        return "\n".join(lines)


def _latency(seconds: list[float]) -> str:
    p50, p99 = np.percentile(seconds, [50, 99]) * 1000 if seconds else (0.0, 0.0)
    return f"{p50:>7.0f} ms{p99:>7.0f} ms" if seconds else f"{'-':>10}{'-':>10}"


def _summed(errors: Counter[tuple[str, str]]) -> Counter[str]:
    found: Counter[str] = Counter()
    for (_, said), count in errors.items():
        found[said] += count
    return found
