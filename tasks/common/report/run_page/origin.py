"""What it takes to make a run again: command, versions, state of the code, options."""

from tasks.common.report.page.blocks import Block, Cell, Code, Facts, Section, Table
from tasks.common.report.run_page.record import RunRecord


def origin_section(run: RunRecord) -> Section | None:
    """Return command, options that differ from their default, versions, git state and machine."""
    environment = run.environment
    blocks: list[Block] = []
    if command := environment.get("command"):
        blocks.append(Code(title="Command", text=command))
    if (options := run.run.get("options")) is not None:
        blocks.append(_options(options))
    if versions := environment.get("versions"):
        packages = {"python": str(environment.get("python", "-")), **versions}
        rows: list[list[Cell]] = [[name, version] for name, version in packages.items()]
        blocks.append(Table(title="Versions", headings=["package", "version"], rows=rows))
    if git := environment.get("git"):
        blocks.append(Facts(title="Code", facts=_code(git)))
    keys = ("machine", "processor", "cores", "gpu", "started")
    if machine := {key: str(environment[key]) for key in keys if key in environment}:
        blocks.append(Facts(title="Machine", facts=machine))
    blocks.append(Facts(title="Files", facts={"run folder": str(run.folder.resolve())}))
    return Section(title="How it was made", blocks=blocks)


def _options(options: list[dict[str, Cell]]) -> Table:
    rows = [[option["option"], option["value"], option["default"]] for option in options]
    note = "" if rows else "Every option has its default."
    headings = ["option", "value", "default"]
    title = "Options that differ from their default"
    return Table(title=title, headings=headings, rows=rows, note=note)


def _code(git: dict[str, str | list[str]]) -> dict[str, str]:
    changed = git.get("changed", [])
    facts = {"commit": str(git.get("commit", "unknown"))}
    facts["files changed since"] = str(git.get("changed files", "unknown"))
    if changed:
        facts["changed files"] = "\n".join(changed)
    return facts
