"""`make docs`: write the table of options into the page about the configuration."""

from tests.unit.docs.pages import CONFIGURATION, read_page, render_configuration


def main() -> None:
    CONFIGURATION.write_text(render_configuration(read_page(CONFIGURATION)), encoding="utf-8")


if __name__ == "__main__":
    main()
