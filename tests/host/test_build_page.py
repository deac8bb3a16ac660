"""The page of a build: parsed as HTML, held to the facts that it shows, free of anything from elsewhere."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

import pytest
from build_facts import made_up_facts

from adakern.report.build_facts import facts_text, stage_facts
from adakern.report.build_page import build_page
from adakern.report.module_tree import module_tree, rows
from adakern.report.page_path import module_shares, path_steps, pin_words
from adakern.report.subsystems import by_subsystem, short, subsystem
from adakern_hw.floorplan import DIES
from adakern_spec.akm import AkmLayer, AkmShape, Downsample, LayerFold
from adakern_spec.network import Fold

VOID = {"meta", "link", "input", "br", "img", "hr"}
LARGEST = 2_000_000


@dataclass
class Node:
    tag: str
    attributes: dict[str, str]
    children: list["Node"] = field(default_factory=list)
    own: str = ""

    @property
    def classes(self):
        return self.attributes.get("class", "").split()

    @property
    def text(self):
        return " ".join((self.own + "".join(f" {child.text}" for child in self.children)).split())

    def all(self, tag="", cls=""):
        found = []
        for child in self.children:
            if (not tag or child.tag == tag) and (not cls or cls in child.classes):
                found.append(child)
            found += child.all(tag, cls)
        return found

    def find(self, ident):
        return next(node for node in self.all() if node.attributes.get("id") == ident)


class Document(HTMLParser):
    """Tree of a page; fails where a tag is closed that is not open, or left open."""

    def __init__(self, text):
        super().__init__()
        self.open = [Node("", {})]
        self.feed(text)
        self.close()
        assert [node.tag for node in self.open] == [""]

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, attrs)
        node = Node(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_startendtag(self, tag, attrs):
        self.open[-1].children.append(Node(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag):
        assert self.open.pop().tag == tag

    def handle_data(self, data):
        self.open[-1].own += data


def parse(facts):
    return Document(build_page(facts)).open[0]


def cells(row):
    return [cell.text for cell in row.children]


def number(text):
    return 0 if text == "·" else int(text.replace(",", ""))


@pytest.fixture(scope="module")
def facts():
    return made_up_facts()


@pytest.fixture(scope="module")
def page(facts):
    return parse(facts)


def test_key_figures_are_the_facts(page, facts):
    assert page.find("reached").text == "125.00 MHz"
    assert page.find("slack").text == "2.00"
    assert page.find("cycles").text == "18,432 cycles"
    figures = page.all("section", "figures")[0].text
    for text in ("100.00 MHz wanted", "5,425 maps/s", "190.7 µs", "19,065 cycles", "80 multipliers"):
        assert text in figures
    assert "clock met, 2.00 ns to spare" in page.text


def test_missed_clock_is_said():
    facts = made_up_facts()
    facts["clocks"][0] |= {"slack_ns": -0.5, "reached_mhz": 95.2}
    assert "clock missed by 0.50 ns" in parse(facts).text


def test_each_clock_is_listed_and_the_worst_one_judged():
    facts = made_up_facts()
    facts["clocks"].append({"name": "clock.slow", "wanted_mhz": 50.0, "reached_mhz": 50.5, "slack_ns": 0.198})
    facts["critical_path"]["wanted_mhz"] = 50.0
    page = parse(facts)
    assert "clocks met, 0.20 ns to spare" in page.text
    assert "the longest path of the 50.00 MHz clock, which has the least slack" in page.text
    assert page.find("reached").text == "125.00 MHz"
    lines = page.find("timing").all("table")[0].all("tbody")[0].children
    assert [cells(line) for line in lines] == [
        ["clock.fast", "100.00", "125.00", "2.00"],
        ["clock.slow", "50.00", "50.50", "0.20"],
    ]


def test_times_at_both_clocks(page):
    table = page.find("network").all("table")[1]
    assert cells(table.all("tr")[1]) == ["map after map", "18,432", "5,425.3 maps/s", "6,781.7 maps/s"]
    assert cells(table.all("tr")[2]) == ["first pixel to answer", "19,065", "190.7 µs", "152.5 µs"]


def test_resources_show_estimate_beside_what_was_built(page, facts):
    lines = {row.children[0].text: cells(row)[1:6] for row in page.find("resources").all("tr")[1:]}
    total = facts["resources"]["total"]
    packed = facts["utilisation"]["TRELLIS_COMB"]["used"]
    assert lines["logic cells, placed"][:2] == [f"{packed:,}", "1,000"]
    assert float(lines["logic cells, placed"][2].rstrip("%").replace("−", "-")) == pytest.approx(
        100 * (1000 - packed) / packed, abs=0.06
    )
    assert lines["look-up tables"][:2] == [f"{total['luts']:,}", "–"]
    assert lines["DSP blocks"] == ["1", "1", "+0.0%", "156", "0.6%"]
    assert lines["registers"][1:3] == ["–", "–"]
    assert lines["carry cells"][3] == f"{83640 // 2:,}"


def test_modules_add_up_to_the_whole_at_every_level(page, facts):
    whole, *lines = page.find("modules").all("tbody")[0].children
    totals = [number(text) for text in cells(whole)[1:]]
    assert totals == [facts["resources"]["total"][kind] for kind in (
        "luts", "registers", "carries", "lut_rams", "dsps", "block_rams"
    )]  # fmt: skip
    outermost = [line for line in lines if not any(name.startswith("in") for name in line.classes)]
    assert {line.children[0].text for line in outermost} == {"device", "clock", "rx"}
    for column, total in enumerate(totals, 1):
        assert sum(number(cells(line)[column]) for line in outermost) == total
    device = next(line for line in lines if line.children[0].text == "device")
    fold = device.all("input")[0].attributes["id"].removeprefix("fold")
    below = [
        line for line in lines if [name for name in line.classes if name.startswith("in")] == [f"in{fold}"]
    ]
    assert {line.children[0].text for line in below} == {"accelerator", "receiver"}
    assert sum(number(cells(line)[1]) for line in below) == number(cells(device)[1])


def test_every_fold_hides_what_is_below_it(page):
    style = page.all("style")[0].own
    folds = {node.attributes["id"] for node in page.all("input", "fold")}
    assert folds
    for fold in folds:
        inside = fold.replace("fold", "in")
        assert f".tree:has(#{fold}:not(:checked)) .{inside}{{display:none}}" in style
        assert any(inside in row.classes for row in page.all("tr"))


def test_path_is_told_hop_by_hop(page):
    hops = page.all("table", "hops")[0].all("tbody")[0].children
    assert [cells(hop)[:6] for hop in hops] == [
        ["leaves the register", "a", "receiver", "X10 Y2", "0.50", "0.50"],
        ["wire over 4 columns", "a[3]", "receiver", "X14 Y2", "3.00", "3.50"],
        ["through a look-up table", "sum", "engine.stage_1", "X14 Y2", "0.25", "3.75"],
        ["wire over 6 columns and 7 rows", "sum", "engine.stage_1", "X20 Y9", "4.00", "7.75"],
        ["arrives at the register, clock enable", "b", "accelerator", "X20 Y9", "0.25", "8.00"],
    ]
    modules = page.find("timing").all("table")[0].all("tbody")[0].children
    assert [cells(row) for row in modules] == [
        ["receiver", "0.50", "3.00", "3.50", "0"],
        ["engine.stage_1", "0.25", "4.00", "4.25", "1"],
        ["accelerator", "0.25", "0.00", "0.25", "0"],
    ]


def test_shares_of_modules_add_up_to_the_path(facts):
    steps = path_steps(facts["critical_path"]["hops"], facts["floorplan"])
    assert sum(share.delay for share in module_shares(steps)) == pytest.approx(8.0)
    assert steps[-1].end == pytest.approx(8.0)


def test_path_names_hard_blocks_and_drops_the_numbers_of_names(facts):
    first, _, second, *_ = facts["critical_path"]["hops"]
    hops = [dict(first, place=[2, 0], signal="sum$31[3]"), second]
    assert path_steps(hops, facts["floorplan"])[0].signal == "sum[3]"
    assert [step.what for step in path_steps(hops, facts["floorplan"])] == [
        "leaves the block RAM",
        "through a look-up table",
    ]


@pytest.mark.parametrize(
    ("port", "words"),
    [("CE", "clock enable"), ("CEN", "clock enable"), ("LSR", "reset"), ("DI", "data"), ("M", "data"),
     ("ADA5", "address"), ("WEA", "write enable"), ("A12", "port A12")],
)  # fmt: skip
def test_pins_in_words(port, words):
    assert pin_words(port) == words


@pytest.mark.parametrize("part", DIES)
def test_floorplan_has_every_occupied_tile_where_it_is(part):
    facts = made_up_facts(part)
    plan = parse(facts).all("svg", "floorplan")[0]
    tiles = plan.all("path", "tile")
    assert len(tiles) == len(facts["floorplan"]["tiles"])
    for tile, (column, row, kind, inside) in zip(tiles, facts["floorplan"]["tiles"], strict=True):
        x, y = map(float, re.match(r"M(\S+) (\S+?)[hm]", tile.attributes["d"]).groups())
        assert (x, y) == (column, DIES[part].rows - 1 - row if part == "up5k" else row), kind
        assert tile.children[0].text.startswith(f"X{column} Y{row}: ")
        most = max(inside, key=lambda item: item[1])[0]
        if kind != "logic" or inside[0][1] > sum(count for _, count in inside[1:]):
            assert subsystem(facts["floorplan"]["modules"][most]).colour in tile.classes
    _, _, width, height = map(float, plan.attributes["viewbox"].split())
    assert width > DIES[part].columns
    assert height > DIES[part].rows
    labels = [label.text for label in plan.all("text", "label")]
    assert sorted(labels) == ["PLL", "rx"]


def test_legend_names_every_colour_of_the_floorplan(page):
    plan = page.all("svg", "floorplan")[0]
    used = {name for tile in plan.all("path", "tile") for name in tile.classes} - {"tile"}
    legend = page.find("floorplan").all("ul", "legend")[0]
    named = {name for swatch in legend.all("span", "swatch") for name in swatch.classes}
    assert {name for name in used if not name.startswith("full")} <= named
    assert {"DSP block", "block RAM", "pin", "PLL", "clock buffer"} <= {
        item.text for item in legend.all("li")
    }


def test_quantisation_by_layer(page):
    section = page.find("quantisation")
    assert cells(section.all("tbody")[0].children[0]) == [
        "input", "u8·2 −7", "0.00098", "0.00391", "42.9", "2", "25.0%",
    ]  # fmt: skip
    hints = [node.text for node in section.all("circle")]
    assert hints == [
        "mean 0.125 last bits",
        "largest 0.5 last bits",
        "mean 0 last bits",
        "largest 128 last bits",
    ]


def test_model_without_quantisation_report_and_build_without_model():
    facts = made_up_facts()
    for name in ("quantisation", "model", "command"):
        del facts[name]
    page = parse(facts)
    assert "no quantisation report" in page.find("quantisation").text
    assert "CRC" not in page.find("build").text


def test_build_is_named_and_can_be_made_again(page, facts):
    text = page.find("build").text
    for fact in (facts["digest"], facts["sha256"], facts["command"], *facts["model"].values()):
        assert fact in text
    for name, version in facts["tools"].items():
        assert f"{name} {version}" in text
    assert "place and route 10 min 5 s" in text
    assert "together 10 min 21 s" in text


def test_nothing_is_loaded_and_nothing_runs(page, facts):
    text = build_page(facts)
    assert not page.all("script")
    assert not page.all("iframe")
    assert [link.attributes["href"] for link in page.all("link")] == ["data:,"]
    assert "url(" not in text
    assert "@import" not in text
    assert "://" not in text
    for node in page.all():
        assert not [name for name in node.attributes if name.startswith("on") or name == "src"]
        assert node.attributes.get("href", "#").startswith(("#", "data:,"))


def test_pictures_and_tables_can_be_read_aloud(page):
    idents = [node.attributes["id"] for node in page.all() if "id" in node.attributes]
    assert len(idents) == len(set(idents))
    for picture in page.all("svg"):
        if picture.attributes.get("aria-hidden") == "true":
            continue
        assert picture.attributes["role"] == "img"
        labels = picture.attributes.get("aria-labelledby", "").split()
        assert picture.attributes.get("aria-label") or labels
        assert set(labels) <= set(idents)
    for table in page.all("table"):
        assert all(row.children[0].tag == "th" for row in table.all("tr"))
        assert all(head.attributes["scope"] in ("col", "row") for head in table.all("th"))
        assert all(head.text for head in table.all("th"))
    for link in page.all("nav")[0].all("a"):
        assert link.attributes["href"].removeprefix("#") in idents
    assert page.all("html")[0].attributes["lang"] == "en"


def test_names_cannot_become_markup():
    facts = made_up_facts()
    evil = '"><script>alert(1)</script>&amp;'
    facts["modules"][evil] = facts["modules"]["clock"]
    facts["floorplan"]["modules"][0] = evil
    facts["critical_path"]["hops"][0]["signal"] = evil
    facts["model"]["file"] = facts["part"] = evil
    page = parse(facts)
    assert not page.all("script")
    assert evil in page.find("build").text


@pytest.mark.parametrize("tiles", [1250, 10_000])
def test_page_of_the_largest_part_stays_small(tiles):
    """20,000 cells, and every tile of the part full."""
    facts = made_up_facts("lfe5u_85f", tiles)
    cells = sum(count for *_, inside in facts["floorplan"]["tiles"] for _, count in inside)
    assert cells >= 16 * tiles
    page = build_page(facts)
    assert len(page.encode()) < LARGEST
    assert len(facts_text(facts)) < LARGEST
    assert page.count('class="tile ') == len(facts["floorplan"]["tiles"])


@pytest.mark.parametrize(
    ("module", "label"),
    [
        ("device.accelerator.engine.stage_2.macs.row_0", "conv stage 2"),
        ("device.accelerator.engine.core.stage_12", "conv stage 12"),
        ("device.accelerator.engine.head", "sequencing and head"),
        ("device.accelerator.engine.smoother_1.columns", "smoothers"),
        ("device.accelerator.engine.drain_1", "downsampling"),
        ("device.accelerator.receiver.crc", "framing and serial line"),
        ("device.receiver.U$0", "framing and serial line"),
        ("device.accelerator.window", "packet link"),
        ("tx$12.buf", "clock and pins"),
        ("device.row", "device"),
        ("probe$3", "probe"),
    ],
)
def test_subsystems(module, label):
    assert subsystem(module).label == label


def test_layers_of_kernel_modulation_show_conv_and_smoother():
    layers = (AkmLayer(8, downsample=Downsample.STRIDE2), AkmLayer(4))
    shape = AkmShape(1, 9, layers, classes=3, radius=2)
    folds = tuple(LayerFold(conv, lanes) for conv, lanes in ((Fold(2, 1), 1), (Fold(4, 8), 2)))
    facts = made_up_facts()
    facts["network"] |= {
        "stages": stage_facts(shape, folds, 11),
        "macs_per_map": shape.macs(11),
        "multipliers": 2 + 6 + 32 + 12,
    }
    table = parse(facts).find("network").all("table")[0]
    head, first, second, together = (cells(row) for row in table.all("tr"))
    assert head[3:5] == ["multipliers of the conv", "of the smoother"]
    assert first == ["0", "1 → 8", "9 × 11", "2", "6", "stride2", "72", "36"]
    assert second == ["1", "8 → 4", "5 × 6", "32", "12", "none", "288", "9"]
    assert together[3:5] == ["34", "18"]
    assert together[6] == f"{99 * 72 + 30 * 288 + 4 * 3:,} per map"


def test_subsystems_add_up_with_the_stages_first():
    sums = by_subsystem(made_up_facts()["modules"])
    labels = [one.label for one in sums]
    assert labels[:2] == ["conv stage 0", "conv stage 1"]
    assert len(labels) == len(set(labels))
    total = made_up_facts()["resources"]["total"]
    assert {kind: sum(cells[kind] for cells in sums.values()) for kind in total} == total


def test_short_names():
    assert short("device.accelerator.counters$159") == "counters"
    assert short("device.receiver.U$0") == "receiver.U$0"
    assert short("clock.lock") == "clock.lock"


def test_tree_counts_what_is_below():
    tree = module_tree({"a.b": {"luts": 2}, "a": {"luts": 1}, "c": {"luts": 9}, "a.d.e": {"luts": 5}})
    found = [(row.depth, row.module.path, row.module.cells["luts"]) for row in rows(tree)]
    assert found == [(0, "c", 9), (0, "a", 8), (1, "a.d", 5), (2, "a.d.e", 5), (1, "a.b", 2)]
    assert tree.cells["luts"] == 17
