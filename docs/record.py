#!/usr/bin/env python3
"""Draws docs/repl.png: a real conversation with build/carat, typed on a pseudo-terminal and rendered by a terminal emulator.

Needs the Python packages pyte and Pillow and a monospaced TrueType font:

    python3 -m venv /tmp/record && /tmp/record/bin/pip install pyte pillow && /tmp/record/bin/python docs/record.py
"""

import fcntl
import os
import pathlib
import pty
import select
import struct
import sys
import termios

import pyte
from PIL import Image, ImageDraw, ImageFont

ROOT = pathlib.Path(__file__).resolve().parent.parent
FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf"
COLUMNS, ROWS, SIZE = 92, 27, 13
PROMPT = b"Send a message (/? for help)"
TYPED = ["What is the capital of France?", "/set verbose", "And of Italy?", "/wibble"]
BACKGROUND, FOREGROUND = "#16181d", "#d7dae0"


def read_to(terminal, text):
    seen = b""
    while text not in seen:
        if not select.select([terminal], [], [], 120)[0]:
            sys.exit(f"{text!r} did not come, but {seen!r}")
        seen += os.read(terminal, 65536)
    return seen


def record(program):
    arguments = [program, "run", "gemma3:270m-pt", "--temperature", "0"]
    child, terminal = pty.fork()
    if child == 0:
        os.execve(program, arguments, {**os.environ, "TERM": "xterm-256color", "CARAT_NOHISTORY": "1"})
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    output = b"$ carat run gemma3:270m-pt --temperature 0\r\n" + read_to(terminal, PROMPT)
    for line in TYPED:
        os.write(terminal, line.encode() + b"\r")
        output += read_to(terminal, PROMPT)
    os.write(terminal, b"/bye\r")
    os.waitpid(child, 0)
    return output


def draw(output, path):
    screen = pyte.Screen(COLUMNS, ROWS)
    pyte.ByteStream(screen).feed(output)
    font = ImageFont.truetype(FONT, SIZE)
    cell, line = font.getlength("M"), SIZE + 5
    used = max(row for row in range(ROWS) if screen.display[row].strip()) + 1
    image = Image.new("RGB", (int(cell * COLUMNS) + 24, line * used + 24), BACKGROUND)
    pen = ImageDraw.Draw(image)
    for row, text in enumerate(screen.display[:used]):
        pen.text((12, 12 + row * line), text.rstrip(), font=font, fill=FOREGROUND)
    image.quantize(32).save(path, optimize=True)


if __name__ == "__main__":
    draw(record(sys.argv[1] if len(sys.argv) > 1 else str(ROOT / "build/carat")), ROOT / "docs/repl.png")
