from __future__ import annotations

import re
from pathlib import Path

from train.run_record import code_version, dvc_rev


def test_the_code_has_a_commit_or_a_version() -> None:
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?|second-look \d+\.\d+\.\d+", code_version())


def test_a_folder_that_is_no_workspace_has_no_revision(tmp_path: Path) -> None:
    assert dvc_rev(tmp_path) == ""
