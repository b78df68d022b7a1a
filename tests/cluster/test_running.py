from __future__ import annotations

import json
import os
import subprocess
import sys

import psutil

from cluster.running import end_running, find_running, forget_running, note_running
from store.settings import Settings


def test_nothing_runs_in_a_new_home(settings: Settings) -> None:
    assert find_running(settings) is None
    assert end_running(settings) is False


def test_what_is_noted_is_found_and_forgotten(settings: Settings) -> None:
    note_running(settings, "127.0.0.1:6379", "http://127.0.0.1:8265", "http://127.0.0.1:5001")
    running = find_running(settings)
    assert running is not None
    assert running.pid == os.getpid()
    assert running.alive()
    assert running.api_url == "http://127.0.0.1:8000"
    forget_running(settings)
    assert find_running(settings) is None


def test_a_note_that_was_cut_off_counts_as_none(settings: Settings) -> None:
    settings.run_dir.mkdir(parents=True)
    (settings.run_dir / "up.json").write_text('{"pid": 1, "sta')
    assert find_running(settings) is None


def test_a_reused_process_id_is_not_taken_for_ours_and_not_killed(settings: Settings) -> None:
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        note_running(settings, "a", "b", "c")
        note = settings.run_dir / "up.json"
        raw = json.loads(note.read_text())
        long_ago = psutil.Process(bystander.pid).create_time() - 3600
        raw |= {"pid": bystander.pid, "started": long_ago, "children": [[bystander.pid, long_ago]]}
        note.write_text(json.dumps(raw))
        running = find_running(settings)
        assert running is not None
        assert not running.alive()
        assert end_running(settings) is False
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_ending_stops_the_process_and_the_children_it_left(settings: Settings) -> None:
    main = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    orphan = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        note_running(settings, "a", "b", "c")
        note = settings.run_dir / "up.json"
        raw = json.loads(note.read_text())
        raw |= {
            "pid": main.pid,
            "started": psutil.Process(main.pid).create_time(),
            "children": [[orphan.pid, psutil.Process(orphan.pid).create_time()]],
        }
        note.write_text(json.dumps(raw))
        assert end_running(settings) is True
        assert main.poll() is not None
        assert orphan.poll() is not None
        assert find_running(settings) is None
    finally:
        for process in (main, orphan):
            process.kill()
            process.wait()
