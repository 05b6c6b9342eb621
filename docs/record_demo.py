"""Draws `docs/demo.svg`: what `make demo` prints on a terminal, recorded from a run.

.venv/bin/python docs/record_demo.py
"""

import os
import pty
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

HERE = Path(__file__).parent
PICTURE = """<svg viewBox="0 0 {terminal_width} {terminal_height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
  font-family: Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: {char_height}px; line-height: {line_height}px;
}}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}</defs>
<rect fill="#1b1f24" x="1" y="1" width="{terminal_width}" height="{terminal_height}" rx="8"
  transform="translate(-1 -1)"/>
<g transform="translate(16, 10)" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix" xml:space="preserve">{matrix}</g>
</g>
</svg>
"""


def recorded() -> str:
    """What `fairlead demo --once` prints to a terminal."""
    inside, outside = pty.openpty()
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONPATH": str(HERE.parent / "src"), "TERM": "xterm-256color"}
        command = [sys.executable, "-m", "fairlead", "demo", "--once"]
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=outside, stderr=outside)
        process.wait()
    os.close(outside)
    told = b""
    while True:
        try:
            chunk = os.read(inside, 65536)
        except OSError:
            break
        if not chunk:
            break
        told += chunk
    return told.decode().replace("\r\n", "\n")


def main() -> None:
    console = Console(record=True, width=110, file=open(os.devnull, "w"), force_terminal=True)  # noqa: SIM115
    console.print(Text.from_ansi("$ make demo\n" + recorded()))
    (HERE / "demo.svg").write_text(console.export_svg(title="make demo", code_format=PICTURE), encoding="utf-8")


if __name__ == "__main__":
    main()
