"""`make docs`: write the tables of options and of metrics into their pages."""

from tests.unit.docs.metrics import METRICS, render_metrics
from tests.unit.docs.pages import CONFIGURATION, read_page, render_configuration


def main() -> None:
    CONFIGURATION.write_text(render_configuration(read_page(CONFIGURATION)), encoding="utf-8")
    METRICS.write_text(render_metrics(read_page(METRICS)), encoding="utf-8")


if __name__ == "__main__":
    main()
