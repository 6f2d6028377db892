"""A user's own code: import paths of both spellings, arguments, and failures that say where they come from."""

from __future__ import annotations

import collections
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from rllib_rnd.errors import ConfigError, at
from rllib_rnd.own_code import cause_in, cause_of, check_arguments, failures_of, import_name, import_path, method_of

SOURCE = """
import functools
class Outer:
    class Inner: pass
    def work(self): return {}["weights"]
    @functools.wraps(work)
    def wrapped(self): return self.work()
def silent(): assert False
def chained():
    try: {}["first"]
    except KeyError as error: raise RuntimeError from error
import numpy as np
from collections import OrderedDict
OUTERS = [1]
"""


@pytest.fixture(autouse=True)
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "own_module.py").write_text(SOURCE)
    (tmp_path / "broken_module.py").write_text("x = 1\ny = undefined_name\n")
    (tmp_path / "unreadable_module.py").write_text("def f(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield
    for name in ("own_module", "broken_module", "unreadable_module"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("path", ["collections:OrderedDict", "collections.OrderedDict"])
def test_both_spellings_lead_to_the_class(path: str) -> None:
    assert import_path(path) is collections.OrderedDict


def test_names_in_classes_and_back_to_the_path() -> None:
    inner = import_path("own_module:Outer.Inner")
    assert inner.__name__ == "Inner" and import_name(inner) == "own_module:Outer.Inner"
    assert import_name(collections.OrderedDict) == "collections:OrderedDict"
    assert import_name(lambda: None) is None and import_name(type("Made", (), {})) is None


def test_what_ray_pickles_by_value_has_no_path() -> None:
    from ray import cloudpickle

    import_path("own_module:Outer")
    module = sys.modules["own_module"]
    cloudpickle.register_pickle_by_value(module)
    try:
        assert import_name(module.Outer) is None
    finally:
        cloudpickle.unregister_pickle_by_value(module)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("own_module:Outr", "there is no 'Outr' in 'own_module'). Nearest: 'own_module:Outer'."),
        ("own_module.Outr", "Nearest: 'own_module.Outer'."),
        ("own_module:OUTERS_", "Nearest: 'own_module:Outer'."),  # classes and functions only
        ("own_module:chainmp", "Nearest: 'own_module:chained'."),  # what is defined there before what is imported
        ("own_module:OrderdDict", "Nearest: 'own_module:OrderedDict'."),
        ("own_module:n_p", "there is no 'n_p' in 'own_module')."),
        ("no_such_module:X", "(ModuleNotFoundError: No module named 'no_such_module')"),
        ("broken_module:X", "(NameError: name 'undefined_name' is not defined (broken_module.py:2, in <module>))"),
        ("unreadable_module:X", "SyntaxError: "),
        (":X", "cannot import ':X'"),
        ("own_module:", "cannot import 'own_module:'"),
    ],
)
def test_a_path_that_leads_nowhere_says_why(path: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused, at("intrinsic_reward"):
        import_path(path, "type")
    assert refused.value.path == "intrinsic_reward.type" and message in str(refused.value)


def raised(function: Callable[[], object]) -> BaseException:
    try:
        function()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def test_a_cause_has_its_line_in_the_users_file() -> None:
    work = import_path("own_module:Outer")().work
    assert cause_of(raised(work)) == "KeyError: 'weights' (own_module.py:5, in work)"
    assert cause_of(raised(import_path("own_module:silent"))) == "AssertionError (own_module.py:8, in silent)"
    text = "RuntimeError (own_module.py:11, in chained), from KeyError: 'first'"
    assert cause_of(raised(import_path("own_module:chained"))) == text


def test_an_exception_that_says_nothing_gives_way_to_the_one_before() -> None:
    first = 'Traceback (most recent call last):\n  File "/x/site-packages/a.py", line 1, in f\nKeyError: 3\n'
    assert cause_in(f"{first}\nDuring handling ...\n\nRuntimeError: \n") == "KeyError: 3"


@pytest.mark.parametrize(
    ("report", "cause"),
    [
        ("\x1b[36mray::RND.train()\x1b[39m (pid=1)\n  File 'x.py', line 2\nValueError: lr: -1\n", "ValueError: lr: -1"),
        ("ray::RND.train()\nrllib_rnd.errors.ConfigError: lr: 0 is out of range.\n", "lr: 0 is out of range."),
        ("RuntimeError", "RuntimeError"),
        ("Segmentation fault", "Segmentation fault"),
        ("", ""),
    ],
)
def test_causes_in_text(report: str, cause: str) -> None:
    assert cause_in(report) == cause


@pytest.mark.usefixtures("ray_session")
def test_a_cause_comes_through_from_another_process(tmp_path: Path) -> None:
    @ray.remote
    def elsewhere(folder: str) -> None:
        sys.path.insert(0, folder)
        import_path("own_module:Outer")().work()

    error = raised(lambda: ray.get(elsewhere.remote(str(tmp_path))))
    assert cause_of(error) == "KeyError: 'weights' (own_module.py:5, in work)"


def test_failures_of_a_plugin_name_class_method_and_line() -> None:
    plugin = import_path("own_module:Outer")()
    with pytest.raises(ConfigError) as failed, at("backbone"), failures_of(plugin, "wrapped"):
        plugin.wrapped()
    expected = "backbone: own_module:Outer.wrapped() failed: KeyError: 'weights' (own_module.py:5, in work)."
    assert str(failed.value) == expected and isinstance(failed.value.__cause__, KeyError)
    assert method_of(plugin, "work", with_line=True) == "own_module:Outer.work() (own_module.py:5)"


def takes(a: int, b: int = 1, *, c: int = 2) -> None: ...


def takes_all(**anything: int) -> None: ...


@pytest.mark.parametrize(
    ("maker", "keywords", "message"),
    [
        (takes, {"a": 1, "bb": 2}, "unknown key 'bb'. Did you mean 'b'? Allowed: a, b, c."),
        (takes, {}, "takes cannot be made with {} (missing a required argument: 'a')."),
    ],
)
def test_arguments_that_are_not_taken_are_refused(maker: Any, keywords: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check_arguments(maker, keywords, "takes")
    assert message in str(refused.value)


def test_arguments_that_are_taken_pass() -> None:
    check_arguments(takes, {"a": 1, "c": 3}, "takes")
    check_arguments(takes_all, {"anything": 1}, "takes_all")
    check_arguments(takes, {"b": 2}, "takes", positional=[1])
    with pytest.raises(ConfigError, match="Allowed: b, c"):
        check_arguments(takes, {"a": 2}, "takes", positional=[1])


def test_the_first_cause_is_told_once() -> None:
    def wrapped(outer: str) -> BaseException:
        try:
            try:
                raise KeyError("wheel")
            except KeyError as error:
                raise ValueError(outer) from error
        except ValueError as error:
            return error

    assert cause_of(wrapped("no step")).startswith("ValueError: no step (")
    assert cause_of(wrapped("no step")).endswith(", from KeyError: 'wheel'")
    assert "from" not in cause_of(wrapped("no step: KeyError: 'wheel'"))


def test_exceptions_are_told_from_their_messages_by_the_frames_before_them() -> None:
    class BadState(Exception):  # noqa: N818 - as users call theirs
        """A name without Error."""

    def fail(error: BaseException) -> str:
        try:
            raise error
        except BaseException as caught:
            return cause_of(caught)

    assert fail(BadState("no such state")).startswith("BadState: no such state (")
    assert fail(ValueError("first line\nKeyError: 'fake'\nlast")).startswith("ValueError: first line (")
    try:
        raise KeyError("first")
    except KeyError:
        assert fail(BadState()).startswith("BadState (")
