"""Time limits: a plugin that hangs is given up, named and left out; what it prints or throws stays with it."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from pathlib import Path

import click
import pytest
from plugin_site import code_plugin, listed
from plugin_site import plugin_site as plugin_site

from stemprover.errors import OptionError
from stemprover.plugins import PluginRunner, limits
from stemprover.plugins.limits import TIME_LIMIT_S, LimitedThread, time_limit
from stemprover.plugins.output import printing_to_stderr
from stemprover.separation.guarded import FETCHING, SEPARATING

LIMIT_S = 2.0
"""Long for what returns at once, and what hangs would hang for ever."""

LOOP = "while True:\n    pass\n"
HOOK = "from stemprover.plugins import hookimpl\n@hookimpl\ndef detectors():\n    return {'it': lambda: 1}\n"


def runner(*names: str) -> PluginRunner:
    plugins = listed()
    return PluginRunner([plugins[f"acme-{name}"] for name in names], LIMIT_S)


def test_calls_share_one_thread_which_is_not_the_callers() -> None:
    thread = LimitedThread(LIMIT_S)
    seen = {thread.call(threading.get_ident) for _ in range(3)}
    assert len(seen) == 1
    assert threading.get_ident() not in seen
    assert thread.call(lambda: thread.call(lambda: "nested")) == "nested"


def test_zero_means_no_limit_and_no_thread() -> None:
    assert LimitedThread(0).call(threading.get_ident) == threading.get_ident()


def test_what_is_thrown_reaches_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        LimitedThread(LIMIT_S).call(lambda: 1 // 0)


def test_a_loop_is_given_up_and_ends() -> None:
    thread, workers = LimitedThread(0.2), []

    def loop() -> None:
        workers.append(threading.current_thread())
        while True:
            pass

    with pytest.raises(TimeoutError, match=r"no answer within 0\.2 s"):
        thread.call(loop)
    workers[0].join(60)
    assert not workers[0].is_alive()
    assert thread.call(lambda: "next") == "next"


def test_a_call_that_cannot_be_ended_does_not_hold_up_the_next() -> None:
    thread, never = LimitedThread(0.2), threading.Event()
    with pytest.raises(TimeoutError):
        thread.call(never.wait)
    assert thread.call(lambda: "next") == "next"
    never.set()


def test_the_thread_ends_with_its_owner() -> None:
    thread = LimitedThread(LIMIT_S)
    worker = thread.call(threading.current_thread)
    with pytest.raises(ZeroDivisionError):
        thread.call(lambda: 1 // 0)
    del thread
    worker.join(60)
    assert not worker.is_alive()


@pytest.mark.parametrize(("text", "limit"), [("", TIME_LIMIT_S), ("0", 0.0), ("7.5", 7.5)])
def test_limit_of_the_environment(monkeypatch: pytest.MonkeyPatch, text: str, limit: float) -> None:
    monkeypatch.setenv("STEMPROVER_PLUGIN_TIMEOUT", text)
    assert time_limit() == limit


@pytest.mark.parametrize("page", ["authors.md", "security.md"])
def test_the_pages_say_how_long_a_call_may_take(page: str) -> None:
    text = (Path(__file__).parent.parent / "docs" / "plugins" / page).read_text(encoding="utf-8")
    assert re.findall(r"(?:given|not answered) (?:up )?after (\S+ \S+?)[\s,]", " ".join(text.split())) == [
        f"{TIME_LIMIT_S:g} seconds"
    ]


def test_the_page_says_how_long_separators_and_the_end_may_take() -> None:
    text = (Path(__file__).parent.parent / "docs" / "plugins" / "security.md").read_text(encoding="utf-8")
    assert (SEPARATING, FETCHING, FETCHING * TIME_LIMIT_S) == (6, 24, 2 * 3600)
    for words in ("six times as long", "24 times as long, two hours", f"waits up to {limits._FAREWELL_S:g} seconds"):
        assert words in " ".join(text.split())


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf"])
def test_limit_that_is_no_time(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("STEMPROVER_PLUGIN_TIMEOUT", text)
    with pytest.raises(OptionError, match="STEMPROVER_PLUGIN_TIMEOUT"):
        time_limit()


@pytest.mark.parametrize(
    "code",
    [
        LOOP,
        HOOK.replace("return {", "import threading\n    threading.Event().wait()\n    return {"),
        HOOK.replace("lambda: 1}", "wait}\n\ndef wait():\n    while True:\n        pass\n"),
    ],
    ids=["import", "hook", "factory"],
)
def test_plugin_that_hangs_is_named_and_the_others_go_on(site: Path, code: str) -> None:
    code_plugin(site, "hangs", "hooks", code, attribute="")
    code_plugin(site, "works", "detector", "def entry():\n    return 'a detector'\n")
    run = runner("hangs", "works")
    assert run.detectors() == {"works": "a detector"}
    assert [fault.name for fault in run.faults] == ["hangs"]
    assert run.faults[0].reason == "TimeoutError: 'no answer within 2 s'"


def test_prints_of_a_plugin_that_is_given_up_never_reach_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    thread, workers = LimitedThread(0.2), []

    def chatter() -> None:
        workers.append(threading.current_thread())
        with printing_to_stderr():
            while True:
                click.echo("noise")

    with pytest.raises(TimeoutError):
        thread.call(chatter)
    click.echo("result")
    workers[0].join(60)
    click.echo("another")
    captured = capsys.readouterr()
    assert captured.out == "result\nanother\n"
    assert "noise" in captured.err


def test_prints_are_told_apart_by_thread(capsys: pytest.CaptureFixture[str]) -> None:
    inside, outside = threading.Event(), threading.Event()

    def plugin() -> None:
        with printing_to_stderr():
            click.echo("plugin")
            inside.set()
            outside.wait(60)

    worker = threading.Thread(target=plugin)
    worker.start()
    inside.wait(60)
    with printing_to_stderr():  # in this order a plain redirection would stay for ever
        click.echo("another plugin")
        outside.set()
        worker.join(60)
        click.echo("still")
    click.echo("result")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("result\n", "plugin\nanother plugin\nstill\n")


def test_a_thread_that_is_in_native_code_at_the_end_does_not_abort_the_process() -> None:
    code = (
        "import torch; from stemprover.plugins.limits import LimitedThread\n"
        "many = torch.randn(3000, 3000)\n"
        "def work():\n    while True: many @ many\n"
        "try: LimitedThread(0.2).call(work)\n"
        "except TimeoutError: raise SystemExit(130)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "")
