"""What the documents name is there, what they show runs, and nothing names a machine."""

import json
import re
import runpy
from dataclasses import replace
from pathlib import Path

import pytest

from backbones import registry
from tasks.segmentation.data.cases import class_table
from tests.backbones.networks import tiny
from tests.tasks.common.fakes import save as save_checkpoint
from tests.tasks.detection.conftest import CARD as DETECTOR
from tests.tasks.segmentation.scores.conftest import made_card

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
PAGES = runpy.run_path(str(ROOT / "docs" / "mkdocs" / "pages.py"))
MADE = [ROOT / "docs" / name for name in PAGES["MADE"]]  # of the site, when it is built
FOLDERS = (".ci", "backbones", "benchmarks", "configs", "docs", "scripts", "tasks", "tests")

LINK = re.compile(r"\]\(\s*<?([^)\s>]+)")
NAMED = re.compile(rf"(?<![\w/.-])((?:{'|'.join(map(re.escape, FOLDERS))})/[\w./*-]*[\w/*])")
CODE = re.compile(r"```[^\n]*\n.*?```|`[^`\n]+`", re.DOTALL)
COMMAND = re.compile(r"\bmake ([a-z][a-z-]*)")
PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)


def named(text):
    """Return the files that a document links to or names in its code, relative ones only."""
    links = [link.partition("#")[0] for link in LINK.findall(CODE.sub("", text))]
    paths = [path for code in CODE.findall(text) for path in NAMED.findall(code)]
    return {path for path in links + paths if path and "://" not in path}


def headings(text):
    """Return the anchors of a document's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def relative(path):
    return str(path.relative_to(ROOT))


def found(folder, path):
    """Whether a path with ``..`` and patterns is a file of a folder, or of the site."""
    while path.startswith("../"):
        folder, path = folder.parent, path.removeprefix("../")
    return any(folder.glob(path.rstrip("/"))) or folder / path in MADE


def test_the_documents_are_there():
    assert {"README.md", "CHANGELOG.md", "CONTRIBUTING.md"} <= {p.name for p in DOCUMENTS}


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_every_file_that_a_document_names_exists(document):
    gone = {
        path
        for path in named(document.read_text(encoding="utf-8"))
        if not any(found(folder, path) for folder in (document.parent, ROOT))
    }
    assert gone == set(), f"{document.name} names what is not there"


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_every_anchor_that_a_document_links_to_is_one_of_its_headings(document):
    text = document.read_text(encoding="utf-8")
    anchors = {link[1:] for link in LINK.findall(CODE.sub("", text)) if link.startswith("#")}
    assert anchors <= headings(text)


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_every_make_command_is_in_the_makefile(document):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    code = "\n".join(CODE.findall(document.read_text(encoding="utf-8")))
    assert set(COMMAND.findall(code)) <= targets


def test_the_python_in_the_readme_runs():
    for block in PYTHON.findall((ROOT / "README.md").read_text(encoding="utf-8")):
        offline = block.replace('weights="imagenet"', 'weights="random"')
        exec(compile(offline, "README.md", "exec"), {})  # noqa: S102 (our own README)


PLUG_IN = PYTHON.findall((ROOT / "docs" / "plug-in.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize("program", PLUG_IN, ids=range(1, len(PLUG_IN) + 1))
def test_every_program_of_the_plug_in_document_runs(program, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    builders = {n: build for n, build in registry.BUILDERS.items() if n != "tiny"}  # of other tests
    monkeypatch.setattr(registry, "BUILDERS", builders)
    exec(compile(program, "plug-in.md", "exec"), {"__name__": "downstream"})  # noqa: S102


def test_the_plug_in_document_has_a_program_for_every_adapter():
    imported = set(re.findall(r"backbones\.adapters\.(\w+)", "\n".join(PLUG_IN)))
    assert imported == {"huggingface", "smp", "timm", "torchvision"}


IN_PYTHON = PYTHON.findall((ROOT / "docs" / "use_in_python.md").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with the runs that the documents name, of small networks, with some scores."""
    folder = tmp_path_factory.mktemp("docs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.BUILDERS, "resnet18", tiny)
        classes = class_table({0: "background", 7: "cell"})
        for task, card in (("detection", DETECTOR), ("segmentation", made_card(classes))):
            card = replace(card, backbone_options=replace(card.backbone_options, norm="batch"))
            path = folder / "runs" / task / "first" / "checkpoints" / "best.ckpt"
            save_checkpoint(path, card, card.build())
        run = folder / "runs" / "segmentation" / "first"
        (run / "metrics.json").write_text(json.dumps({"scores": {"mean": {"dice": 0.5}}}))
        (run / "cases.csv").write_text("case,class,dice\na,cell,0.25\nb,cell,\n")
        yield folder


@pytest.mark.parametrize("program", IN_PYTHON, ids=range(1, len(IN_PYTHON) + 1))
def test_every_program_of_the_document_on_python_runs(program, runs, monkeypatch):
    monkeypatch.chdir(runs)
    exec(compile(program, "use_in_python.md", "exec"), {"__name__": "downstream"})  # noqa: S102


HOW_TO = [
    pytest.param(program, id=f"{path.stem} {number}")
    for path in sorted((ROOT / "docs" / "how-to").glob("*.md"))
    for number, program in enumerate(PYTHON.findall(path.read_text(encoding="utf-8")), start=1)
]


@pytest.mark.parametrize("program", HOW_TO)
def test_every_program_of_the_how_to_pages_runs(program, runs, monkeypatch):
    monkeypatch.chdir(runs)
    exec(compile(program, "how-to", "exec"), {"__name__": "downstream"})  # noqa: S102


def test_every_program_of_the_documents_is_run():
    elsewhere = {
        "README.md",
        "plug-in.md",
        "use_in_python.md",  # above
        "export.md",  # tests/scripts/test_export.py
        "regions.md",  # tests/tasks/detection/scores/test_regions.py reads such a file
    }
    with_programs = {p for p in DOCUMENTS if PYTHON.search(p.read_text(encoding="utf-8"))}
    assert {p.name for p in with_programs if p.parent.name != "how-to"} == elsewhere


def test_links_paths_anchors_and_commands_are_found():
    text = (
        "# The Title, twice\n[a](docs/a.md#part) ![b](b.png) [c](https://arxiv.org/c.md) [d](#e)\n"
        "`backbones/fpn.py` and `python scripts/train.py x=tests/y`; "
        "not `runs/best.ckpt` and `a/tests/b`\n"
        "```bash\n# no heading\nmake demo  # configs/data/*.yaml\n```\n`make test-all`"
    )
    files = "docs/a.md b.png backbones/fpn.py scripts/train.py configs/data/*.yaml tests/y"
    assert named(text) == set(files.split())
    assert headings(text) == {"the-title-twice"}
    assert COMMAND.findall(text) == ["demo", "test-all"]


# A path of somebody's machine, or an address of a package index: neither belongs into a project.
HOMES = "|".join(["work", "home", "Users", "root", "mnt", "scratch"])
MACHINE = re.compile(rf"(?<![\w.~}})*-])/(?:{HOMES})/\w|\b[A-Z]:\\Users")
INDEX = re.compile(
    r"pypi\.|python"  # in two parts, so that this file names none itself
    r"hosted|artifactory|jfrog|devpi|/simple/"
    r"|(?:index|find-links)[-_ =]*(?:url)?[ =\"']*https?:|https?://(?!127\.)(?:\d+\.){3}\d+"
)


def faults(text):
    """Return the lines that name a machine's folder or a package index."""
    return [line for line in text.splitlines() if MACHINE.search(line) or INDEX.search(line)]


def kept():
    """Return the project's text files: the top level and the known folders, caches left out."""
    inside = (p for folder in FOLDERS for p in (ROOT / folder).rglob("*"))
    hidden = (p for p in ROOT.glob(".*") if p.suffix in {"", ".yaml", ".toml"} and p.name != ".git")
    files = [p for p in [*ROOT.glob("[!.]*"), *hidden, *inside] if p.is_file()]
    binary = {".gif", ".jpg", ".npz", ".onnx", ".png", ".pth", ".pyc"}
    return sorted(p for p in files if p.suffix not in binary and p != Path(__file__))


@pytest.mark.parametrize("path", kept(), ids=relative)
def test_no_file_names_a_machine_or_a_package_index(path):
    assert faults(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("root: /mnt/data", True),
        ("see file:///home/anna/x.pth", True),
        ("C:\\Users\\anna", True),
        ("index-url = https://packages.example.org/all", True),
        ("url = https://devpi.example.org/x.whl", True),
        ("--extra-index-url http://10.0.0.3:8080/all", True),
        ("data.root=/path/to/data", False),
        ("runs/work/x, ${root}/home/x and ~/home/x", False),
        ("https://download.pytorch.org/models/resnet18-f37072fd.pth", False),
        ("torch==2.15.0", False),
    ],
)
def test_machines_and_indexes_are_told_from_what_may_stand_there(line, found):
    assert bool(faults(line)) is found
