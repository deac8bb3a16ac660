"""The page of a build in headless Chromium: what it draws, what it loads (nothing), light and dark, narrow.

A probe at the end of a copy of the page measures it and leaves the result in the document.
"""

import re

import pytest
from browser import Visit, find_browser
from build_facts import made_up_facts

from adakern.report.build_page import build_page

DARK = "--blink-settings=preferredColorScheme=0"
LIGHT = "--blink-settings=preferredColorScheme=1"

PROBE = """
<script>
addEventListener("load", () => {
  const rows = () => [...document.querySelectorAll(".tree tbody tr")].filter(row => row.offsetHeight).length;
  const tiles = [...document.querySelectorAll(".floorplan .tile")];
  const boxes = tiles.map(tile => tile.getBoundingClientRect());
  const die = document.querySelector(".floorplan .die").getBoundingClientRect();
  const style = node => getComputedStyle(node);
  const measured = {
    loaded: performance.getEntriesByType("resource").length,
    ground: style(document.body).backgroundColor,
    ink: style(document.body).color,
    tiles: tiles.length,
    visible: boxes.filter(box => box.width > 2 && box.height > 2).length,
    inside: boxes.filter(box => box.left > die.left - 20 && box.right < die.right + 20
      && box.top > die.top - 20 && box.bottom < die.bottom + 20).length,
    fills: [...new Set(tiles.map(tile => style(tile).fill))],
    overflow: document.documentElement.scrollWidth - innerWidth,
    width: innerWidth,
    sections: [...document.querySelectorAll("section")].map(section => section.offsetHeight),
    rows: rows(),
  };
  document.querySelector("#fold0").checked = false;
  measured.folded = rows();
  document.querySelectorAll(".fold").forEach(box => { box.checked = true; });
  measured.unfolded = rows();
  const result = document.createElement("pre");
  result.id = "measured";
  result.textContent = JSON.stringify(measured);
  document.body.append(result);
});
</script>
"""


@pytest.fixture(scope="module")
def browser():
    return find_browser()


@pytest.fixture(scope="module")
def facts():
    return made_up_facts(tiles=900)


@pytest.fixture
def visit(browser, tmp_path):
    def call(page, *options):
        return Visit(browser, tmp_path, page, "--dump-dom", *options)

    return call


def probed(facts):
    return build_page(facts).replace("</body>", f"{PROBE}</body>")


@pytest.mark.slow
@pytest.mark.xdist_group("browser")
class TestBrowser:
    def test_document_is_the_page_and_shows_the_facts(self, visit, facts):
        """As delivered: no script in it, and the browser mends nothing of its structure."""
        run = visit(build_page(facts))
        assert run.console == []
        assert run.requests == set()
        assert run.document.count('class="tile ') == len(facts["floorplan"]["tiles"])
        for tag in ("table", "tr", "td", "th", "svg", "section", "path", "text"):
            assert len(re.findall(f"<{tag}[ >]", run.document)) == len(
                re.findall(f"<{tag}[ >]", build_page(facts))
            )
        for fact in (f"{facts['clock']['reached_mhz']:.2f}", f"{facts['network']['cycles_per_map']:,}"):
            assert f">{fact}<" in run.document

    def test_every_occupied_tile_is_drawn_on_the_die(self, visit, facts):
        run = visit(probed(facts), "--window-size=1280,900", LIGHT)
        measured = run.measured
        occupied = len(facts["floorplan"]["tiles"])
        assert measured["tiles"] == measured["visible"] == measured["inside"] == occupied
        assert len(measured["fills"]) >= 5
        assert "none" not in measured["fills"]
        assert "rgb(0, 0, 0)" not in measured["fills"]
        assert measured["loaded"] == 0
        assert run.requests == set()
        assert run.console == []
        assert all(measured["sections"])

    def test_modules_fold_without_a_script_of_the_page(self, visit, facts):
        measured = visit(probed(facts), LIGHT).measured
        assert measured["folded"] < measured["rows"] < measured["unfolded"]
        paths = {
            ".".join(module.split(".")[:depth])
            for module in facts["modules"]
            for depth in range(1, module.count(".") + 2)
        }
        assert measured["unfolded"] == 1 + len(paths)

    def test_dark_and_light_follow_the_system(self, visit, facts):
        """Light: dark ink on light ground, and other colours on the floorplan than in the dark."""

        def brightness(colour):
            return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3

        light, dark = (visit(probed(facts), scheme).measured for scheme in (LIGHT, DARK))
        assert brightness(light["ground"]) > 200 > 60 > brightness(light["ink"])
        assert brightness(dark["ground"]) < 60 < 200 < brightness(dark["ink"])
        assert not set(light["fills"]) & set(dark["fills"])

    @pytest.mark.parametrize("width", [500, 800, 1280])
    def test_page_fits_the_window(self, visit, facts, width):
        measured = visit(probed(facts), f"--window-size={width},900").measured
        assert measured["width"] == width
        assert measured["overflow"] <= 0
        assert measured["visible"] == len(facts["floorplan"]["tiles"])

    def test_probe_sees_what_a_page_loads_and_what_goes_wrong(self, visit, facts):
        """The checks above can fail: a page with a picture from elsewhere and an error."""
        bad = '<img src="http://adakern.invalid/x.png"><script>throw new Error("broken")</script></body>'
        run = visit(probed(facts).replace("</body>", bad))
        assert run.requests == {"http://adakern.invalid/x.png"}
        assert any("broken" in line for line in run.console)
        assert run.measured["loaded"] == 1

    def test_full_part_is_drawn_whole(self, visit):
        """The largest part with every tile full."""
        facts = made_up_facts("lfe5u_85f", 10_000)
        measured = visit(probed(facts), "--window-size=1280,900").measured
        assert measured["visible"] == measured["tiles"] == len(facts["floorplan"]["tiles"])
