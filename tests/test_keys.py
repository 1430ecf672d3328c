import runpy
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def test_the_page_of_keys_is_what_the_classes_say():
    page = runpy.run_path(str(DOCS / "keys.py"))["page"]()
    assert (DOCS / "keys.md").read_text() == page  # python docs/keys.py > docs/keys.md
