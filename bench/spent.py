"""Where time goes inside: what processes have counted and summed up themselves, read before and after."""

from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

from bench.ground import Ground
from statera.base.exposition import folder_of, read_pages
from statera.base.settings import Settings

STAGES = ("statera_pass_seconds", "statera_agent_build_seconds")
"""Histograms: a worker's passes from claim to end; what of them an agent takes to build and change sandboxes."""
Counted = Mapping[str, float]
"""Values of samples by name and values of labels, such as `statera_passes_total settled`."""


def read_counted(settings: Settings) -> dict[str, Counted]:
    """Return what each process of an installation has counted, by its name; who does not answer is left out."""
    return {name: _parse(text) for name, text in read_pages(folder_of(settings)).items()}


def _parse(text: str) -> Counted:
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return {" ".join([sample.name, *sample.labels.values()]): sample.value for sample in samples}


def read_spent_ms(ground: Ground) -> dict[str, float]:
    """Return the milliseconds that each of the `STAGES` has taken so far, in all processes."""
    pages = read_counted(ground.playground.settings).values()
    sums = [(sample.partition(" ")[0], value) for page in pages for sample, value in page.items()]
    return {stage: 1000 * sum(value for name, value in sums if name == f"{stage}_sum") for stage in STAGES}
