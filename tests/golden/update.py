"""Rewrites the golden files from what the code renders now: `make golden`. Read the difference before you commit it."""

from tests.golden.cases import FOLDER, expected_path, golden_text, list_cases, render_case
from tests.golden.engines import list_files
from tests.golden.vrrp_cases import list_vrrp_files


def main() -> None:
    cases = list_cases()
    for case in cases:
        text = golden_text(render_case(case))
        path = expected_path(case)
        old = path.read_text(encoding="utf-8") if path.exists() else None
        if old != text:
            path.write_text(text, encoding="utf-8")
            print(f"{'changed' if old is not None else 'new'}: {path.name}")
    for path in FOLDER.glob("*.out.cfg"):
        if path.name.removesuffix(".out.cfg") not in cases:
            path.unlink()
            print(f"removed: {path.name}")
    for path, text in (list_files() | list_vrrp_files()).items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
