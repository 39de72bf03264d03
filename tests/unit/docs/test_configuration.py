"""The page about the configuration tells the options of today, and its examples load."""

import tomllib

import pytest

from statera.base.settings import Settings, convert_settings, describe_options
from statera.drivers.network_local import networks_from_settings
from tests.unit.docs.pages import CONFIGURATION, list_blocks, list_pages, list_words, read_page, render_configuration


def test_options_are_up_to_date():
    page = read_page(CONFIGURATION)
    assert page == render_configuration(page), "`make docs` brings the page up to date"


EXAMPLES = list_blocks(read_page(CONFIGURATION), "toml")


def test_there_are_examples():
    assert len(EXAMPLES) >= 3


@pytest.mark.parametrize("example", EXAMPLES)
def test_example_loads(example: str):
    settings = convert_settings(tomllib.loads(example), source="docs/configuration.md")
    networks_from_settings(settings.networks)


SECTIONS = {name for name, kind in Settings.__annotations__.items() if kind is not str}
OPTIONS = {option.replace("[]", "") for option, *_ in describe_options()}
KNOWN = OPTIONS | {option.rpartition(".")[0] for option in OPTIONS}


@pytest.mark.parametrize("path", list_pages(), ids=lambda path: path.name)
def test_options_named_on_a_page_exist(path):
    named = {word for word in list_words(read_page(path)) if word.partition(".")[0] in SECTIONS and word.isascii()}
    unknown = {word for word in named if "." in word and " " not in word and word.replace("[]", "") not in KNOWN}
    assert unknown == set()
