"""Loading and hooks: a plugin's fault stays with the plugin."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from plugin_site import BASE, code_plugin, listed, lora
from plugin_site import plugin_site as plugin_site

from stemprover.errors import BaseMismatchError, PluginError
from stemprover.plugins import (
    ArtifactType,
    FileEvent,
    Plugin,
    PluginRunner,
    SegmentEvent,
    create,
    disable,
    load,
    load_all,
    require_usable,
)

EVENT = SegmentEvent("vocals", "vocals", 1.0, 2.0, np.zeros((2, 8), np.float32), ("phasiness",))

OBSERVER = """
from stemprover.plugins import hookimpl
seen = []

@hookimpl
def after_segment(event):
    seen.append(event.stem)
"""


def acme_plugins() -> list[Plugin]:
    """The plugins of a test, without those that this environment has."""
    return [plugin for name, plugin in listed().items() if name.startswith("acme-")]


def test_load_returns_the_entry_and_create_what_it_builds(site: Path) -> None:
    code_plugin(site, "factory", "detector", "class entry:\n    artifacts = ('clicks',)\n")
    code_plugin(site, "instance", "detector", "entry = {'ready': True}\n")
    plugins = listed()
    assert isinstance(load(plugins["acme-factory"]), type)
    assert create(plugins["acme-factory"]).artifacts == ("clicks",)
    assert create(plugins["acme-instance"]) == {"ready": True}


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise ValueError('two\\nlines \\x1b[31m')", "ValueError"),
        ("import sys\nsys.exit(3)", "SystemExit: '3'"),
        ("def broken(:", "SyntaxError"),
        ("import a_module_nobody_has", "ModuleNotFoundError"),
        ("x = 1", "AttributeError"),
        ("def entry():\n    raise OSError('no weights')", "OSError: 'no weights'"),
    ],
)
def test_code_that_fails_is_a_fault_and_the_rest_go_on(site: Path, code: str, reason: str) -> None:
    code_plugin(site, "bad", "detector", code)
    code_plugin(site, "good", "detector", "def entry():\n    return 7\n")
    plugins = listed()
    objects, faults = load_all([plugins["acme-bad"], plugins["acme-good"]])
    assert objects == {"good": 7}
    assert [fault.name for fault in faults] == ["bad"]
    assert reason in faults[0].reason
    assert "plugins disable bad" in faults[0].reason
    assert faults[0].reason.isprintable()


def test_ctrl_c_during_import_is_not_swallowed(site: Path) -> None:
    code_plugin(site, "slow", "detector", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load(listed()["acme-slow"])


def test_what_a_plugin_prints_stays_off_standard_output(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code_plugin(site, "chatty", "detector", "print('hello')\ndef entry():\n    print('again')\n    return 1\n")
    create(listed()["acme-chatty"])
    output = capsys.readouterr()
    assert (output.out, output.err.split()) == ("", ["hello", "again"])


def test_only_usable_code_plugins_can_be_loaded(site: Path) -> None:
    lora(site, "data")
    code_plugin(site, "off", "detector", "raise RuntimeError")
    disable("off")
    plugins = listed()
    with pytest.raises(PluginError, match="of kind lora"):
        load(plugins["acme-data"])
    with pytest.raises(PluginError, match="status disabled"):
        load(plugins["acme-off"])
    assert "acme_off" not in sys.modules


def test_adapter_for_another_base_is_an_error_of_its_own(site: Path) -> None:
    lora(site, "fits")
    lora(site, "other", base={"id": "their-base", "sha256": "c" * 64})
    plugins = listed()
    assert require_usable(plugins["acme-fits"], BASE) is plugins["acme-fits"]
    with pytest.raises(BaseMismatchError, match=r"fit base test-base.*their-base"):
        require_usable(plugins["acme-other"], BASE)


def test_runner_wraps_single_objects_and_calls_hooks(site: Path) -> None:
    code_plugin(site, "clicks", "detector", "def entry():\n    return 'a detector'\n")
    code_plugin(site, "watcher", "hooks", OBSERVER, attribute="")
    types = "from stemprover.plugins import ArtifactType, hookimpl\nclass entry:\n    @hookimpl\n"
    types += "    def artifact_types(self):\n        return (ArtifactType('clicks', 'Clicks'),)\n"
    code_plugin(site, "kinds", "hooks", types)
    runner = PluginRunner(acme_plugins())
    assert runner.detectors() == {"clicks": "a detector"}
    assert runner.vocoders() == {}
    assert runner.artifact_types() == (ArtifactType("clicks", "Clicks"),)
    runner.before_segment(EVENT)
    runner.after_segment(EVENT)
    runner.after_file(FileEvent("vocals", "out.wav", {}))
    assert sys.modules["acme_watcher"].seen == ["vocals"]
    assert runner.faults == []


def test_hook_that_raises_is_dropped_and_the_others_are_called(site: Path) -> None:
    failing = OBSERVER + "    raise ValueError('sorry')\n"
    code_plugin(site, "a-watcher", "hooks", OBSERVER, attribute="")
    code_plugin(site, "failing", "hooks", failing, attribute="")
    code_plugin(site, "z-watcher", "hooks", OBSERVER, attribute="")
    runner = PluginRunner(acme_plugins())
    runner.after_segment(EVENT)
    runner.after_segment(EVENT)
    assert [(fault.name, fault.reason) for fault in runner.faults] == [("failing", "ValueError: 'sorry'")]
    assert len(sys.modules["acme_failing"].seen) == 1
    assert len(sys.modules["acme_a_watcher"].seen) == len(sys.modules["acme_z_watcher"].seen) == 2


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise ValueError('at import')", "at import"),
        (OBSERVER.replace("(event)", "(event, more)"), "more"),
        ("x = 1", "no hookimpl functions"),
    ],
)
def test_plugin_that_cannot_be_registered_is_a_fault(site: Path, code: str, reason: str) -> None:
    code_plugin(site, "bad", "hooks", code, attribute="")
    code_plugin(site, "watcher", "hooks", OBSERVER, attribute="")
    runner = PluginRunner(acme_plugins())
    runner.after_segment(EVENT)
    assert [fault.name for fault in runner.faults] == ["bad"]
    assert reason in runner.faults[0].reason
    assert sys.modules["acme_watcher"].seen == ["vocals"]


def test_second_detector_of_a_name_and_failing_factories_are_faults(site: Path) -> None:
    hook = "from stemprover.plugins import hookimpl\n@hookimpl\ndef detectors():\n    return {answer}\n"
    code_plugin(site, "clicks", "detector", "entry = 1\n")
    code_plugin(site, "copy", "hooks", hook.format(answer="{'clicks': 2}"), attribute="")
    code_plugin(site, "odd", "hooks", hook.format(answer="3"), attribute="")
    runner = PluginRunner(acme_plugins())
    assert runner.detectors() == {"clicks": 1}
    assert {fault.name: fault.reason for fault in runner.faults} == {
        "copy": "ValueError: \"detectors already has 'clicks'\"",
        "odd": "AttributeError: \"'int' object has no attribute 'items'\"",
    }


TYPES = """
from stemprover.plugins import ArtifactType, hookimpl

class Odd(str):
    __hash__ = None

@hookimpl
def artifact_types():
    {does}
"""


@pytest.mark.parametrize(
    ("does", "reason"),
    [
        ("raise SystemExit(3)\n    yield", "SystemExit: '3'"),
        ("while True:\n        pass\n    yield", "TimeoutError: 'no answer within 2 s'"),
        ("while True:\n        yield ArtifactType('clicks', 'Clicks')", "ValueError: 'more than 256 artifact types'"),
        ("return [ArtifactType([], 'Clicks', lambda: 1)]", "ValueError: '[] is no name of an artifact"),
        ("return [ArtifactType(Odd('clicks'), 'Clicks', lambda: 1)]", "is no name of an artifact"),
        ("return [ArtifactType('../clicks', 'Clicks')]", "is no name of an artifact"),
        ("return [ArtifactType('clicks', 'red \\x1b[31m')]", "ValueError: 'summary of clicks"),
        ("return ['clicks']", "TypeError: 'str is no ArtifactType'"),
        ("return 3", "TypeError"),
    ],
)
def test_artifact_types_that_are_none_are_a_fault(site: Path, does: str, reason: str) -> None:
    code_plugin(site, "odd", "hooks", TYPES.format(does=does), attribute="")
    code_plugin(site, "works", "detector", "entry = 'a detector'\n")
    runner = PluginRunner(acme_plugins(), 2.0)
    assert runner.detectors() == {"works": "a detector"}
    assert runner.artifact_types() == ()
    assert [fault.name for fault in runner.faults] == ["odd"]
    assert reason in runner.faults[0].reason


def test_names_that_cannot_be_compared_are_a_fault(site: Path) -> None:
    hook = "from stemprover.plugins import hookimpl\n@hookimpl\ndef detectors():\n    return {('a', 1): 2}\n"
    code_plugin(site, "odd", "hooks", hook, attribute="")
    runner = PluginRunner(acme_plugins())
    assert runner.detectors() == {}
    assert "is no string" in runner.faults[0].reason
