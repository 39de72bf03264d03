"""What work is for travels in headers, and only in their form."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import structlog

import statera
from statera.base.errand import Errand, current_errand, new_request_id, on_errand, read_headers, write_headers
from statera.base.ids import new_id

KNOWN = f"req-{'0' * 8}-0000-4000-8000-{'0' * 12}"
TRACE = f"00-{'a' * 32}-{'b' * 16}-01"


def test_round_trip() -> None:
    errand = Errand(request_id=new_request_id(), load_balancer_id=new_id(), trace=TRACE)
    with on_errand(errand):
        assert read_headers(write_headers()) == errand
        assert structlog.contextvars.get_contextvars()["request_id"] == errand.request_id
    assert current_errand() == Errand()
    assert "request_id" not in structlog.contextvars.get_contextvars()
    assert write_headers() == {}


@pytest.mark.parametrize("text", ["", "req-1", "req-" + "x" * 36, "\n" + KNOWN, KNOWN + "\n", "x" * 9999])
def test_what_has_another_form_is_left_out(text: str) -> None:
    headers = {"x-openstack-request-id": text, "x-statera-load-balancer-id": text, "traceparent": text}
    assert read_headers(headers) == Errand()


OLD_NAMES = {"load_balancer", "lb_id", "amphora", "req_id", "balancer_id"}


def _list_log_calls() -> list[tuple[str, ast.Call]]:
    found = []
    for path in sorted(Path(statera.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                target = node.func.value
                if isinstance(target, ast.Name) and target.id == "log":
                    found.append((f"{path.name}:{node.lineno}", node))
    return found


def test_the_same_thing_has_the_same_name_in_every_line() -> None:
    calls = _list_log_calls()
    assert len(calls) > 40
    assert [place for place, call in calls if OLD_NAMES & {word.arg for word in call.keywords}] == []


SECRET_LINE = """
from statera.base.logging import configure_logging, get_logger
from statera.base.secret import Secret
configure_logging(level="info", form="{form}", process="test")
get_logger("room").info("line", key=Secret("hush"), nested=[Secret("hush")], request_id="req-1")
try:
    raise ValueError("boom")
except ValueError:
    key = Secret("hush")
    get_logger("room").exception("failed")
"""


@pytest.mark.parametrize("form", ["text", "json"])
def test_secrets_do_not_get_into_lines(form: str) -> None:
    code = SECRET_LINE.format(form=form)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert "[redacted]" in done.stderr
    assert "req-1" in done.stderr
    assert "boom" in done.stderr
    # The traceback of the text form quotes this very program, where the word stands in quotes.
    assert "hush" not in done.stderr.replace('Secret("hush")', "")
