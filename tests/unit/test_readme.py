"""What the documents show exists and works."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from teambus.bus.topology import TopologySettings
from teambus.runtime.settings import variables
from teambus_gateway.settings import GatewaySettings
from teambus_hook_runner.settings import Settings as HookRunnerSettings
from teambus_team_runner.settings import Settings as TeamRunnerSettings

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path
    for folder in ("", "services/*/", "shared/", "shared/decisions/", "deploy/", "deploy/*/")
    for path in ROOT.glob(f"{folder}*.md")
)
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_a_file_or_folder(document: Path) -> None:
    links = LINK.findall(document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_the_program_on_the_first_page_is_an_app(tmp_path: Path) -> None:
    program = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)[0]
    (tmp_path / "background_hooks_team.py").write_text(program)
    described = subprocess.run(
        [sys.executable, "-P", "-m", "teambus", "describe", "--app", "background_hooks_team"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert described.returncode == 0, described.stderr
    assert '"content-team"' in described.stdout


@pytest.mark.parametrize(
    ("folder", "kind", "prefix"),
    [
        ("services/gateway", GatewaySettings, "GATEWAY"),
        ("services/team-runner", TeamRunnerSettings, "TEAM_RUNNER"),
        ("services/hook-runner", HookRunnerSettings, "HOOK_RUNNER"),
        ("shared", TopologySettings, "TOPOLOGY"),
    ],
)
def test_every_setting_is_in_the_readme_of_its_owner(folder: str, kind: type, prefix: str) -> None:
    text = (ROOT / folder / "README.md").read_text()
    names = variables(kind, prefix)
    assert [name for name in names if f"`{name}`" not in text] == []
