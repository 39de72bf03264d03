"""The page of a machine: one address for all its processes."""

import contextlib
import os
import socket
import time
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from statera.base.exposition import expose_metrics, folder_of, keep_page, merge_pages, read_pages
from statera.base.settings import MetricsSettings, Settings

WITHIN_S = 20.0


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    deep = tmp_path / ("long-" * 20)
    return Settings(run_dir=str(deep), metrics=MetricsSettings(port=port))


def processes_on(page: str) -> set[str]:
    builds = (family for family in text_string_to_metric_families(page) if family.name == "statera_build_info")
    return {sample.labels["process"] for family in builds for sample in family.samples}


def scrape(settings: Settings, path: str = "/metrics") -> str:
    with urlopen(f"http://127.0.0.1:{settings.metrics.port}{path}", timeout=WITHIN_S) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return str(answer.read().decode())


def scrape_until(settings: Settings, processes: set[str]) -> str:
    deadline, seen = time.monotonic() + WITHIN_S, "nothing"
    while time.monotonic() < deadline:
        with contextlib.suppress(URLError, ConnectionError):
            page = scrape(settings)
            seen = str(processes_on(page))
            if processes_on(page) == processes:
                return page
        time.sleep(0.05)
    raise AssertionError(f"{processes} wanted, last seen {seen}")


def test_one_port_tells_of_all_processes_and_the_next_one_takes_it_over(settings: Settings) -> None:
    with expose_metrics(settings, "api"):
        with expose_metrics(settings, "worker"), expose_metrics(settings, "api"), keep_page(settings, "up"):
            page = scrape_until(settings, {"api", "api-2", "worker", "up"})
            assert page.count("# TYPE statera_build_info gauge") == 1
        scrape_until(settings, {"api"})
        with contextlib.ExitStack() as later:
            later.enter_context(expose_metrics(settings, "worker"))
            scrape_until(settings, {"api", "worker"})
    assert not list(folder_of(settings).glob("*.sock"))


def test_the_port_goes_over_when_its_holder_ends(settings: Settings) -> None:
    first = expose_metrics(settings, "api")
    with first, contextlib.ExitStack() as second:
        scrape_until(settings, {"api"})
        second.enter_context(expose_metrics(settings, "worker"))
        scrape_until(settings, {"api", "worker"})
        stays = second.pop_all()
    with stays:
        scrape_until(settings, {"worker"})


def test_nothing_but_the_page_is_served(settings: Settings) -> None:
    with expose_metrics(settings, "api"):
        scrape_until(settings, {"api"})
        with pytest.raises(HTTPError, match="404"):
            scrape(settings, "/etc/passwd")
        with socket.create_connection(("127.0.0.1", settings.metrics.port)) as half:
            half.sendall(b"GET /met")
        scrape_until(settings, {"api"})


@pytest.mark.usefixtures("many_descriptors")
def test_a_process_with_more_descriptors_than_select_takes_has_its_page(settings: Settings) -> None:
    with expose_metrics(settings, "agent"):
        scrape_until(settings, {"agent"})


def test_who_is_gone_is_left_out(settings: Settings) -> None:
    folder = folder_of(settings)
    with expose_metrics(settings, "api"):
        with socket.socket(socket.AF_UNIX) as killed:
            here = os.open(folder, os.O_RDONLY)
            killed.bind(f"/proc/self/fd/{here}/worker.sock")
            os.close(here)
        (folder / "up.prom").write_text("stale 1\n", encoding="utf-8")
        (folder / "up.lock").touch()
        assert set(read_pages(folder)) == {"api"}


def test_off_is_off(settings: Settings) -> None:
    off = msgspec.structs.replace(settings, metrics=MetricsSettings(enabled=False))
    with expose_metrics(off, "api"), keep_page(off, "up") as page:
        assert page is None
        assert not folder_of(off).exists()


def test_a_taken_port_ends_nothing(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", settings.metrics.port)), expose_metrics(settings, "api"):
        assert processes_on(merge_pages(read_pages(folder_of(settings)))) == {"api"}


def test_labels_and_heads_stay_right() -> None:
    pages = {
        "b": '# HELP x_total What.\n# TYPE x_total counter\nx_total{a="{ }"} 1.0\n# HELP y Why.\n# TYPE y gauge\ny 2\n',
        "a": '# HELP x_total What.\n# TYPE x_total counter\nx_total{a="1"} 3.0\n',
    }
    assert merge_pages(pages) == (
        "# HELP x_total What.\n# TYPE x_total counter\n"
        'x_total{process="a",a="1"} 3.0\nx_total{process="b",a="{ }"} 1.0\n'
        '# HELP y Why.\n# TYPE y gauge\ny{process="b"} 2\n'
    )
