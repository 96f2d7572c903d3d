"""The sample bucket's contents, made on the spot.

Nothing is shipped: pictures are computed here, sound and video by ffmpeg.
What takes time is kept in a folder, so that a second demo starts at once.
"""

from __future__ import annotations

import json
import math
import struct
import subprocess
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator

VIDEO_SECONDS = 60


@dataclass
class Sample:
    name: str
    content_type: str
    data: bytes
    title: str = ""


def png(width: int, height: int,
        color: Callable[[float, float], tuple[float, float, float]]) -> bytes:
    """A picture from a function of x and y (0…1) to red, green, blue."""
    rows = bytearray()
    for y in range(height):
        rows.append(0)
        for x in range(width):
            rows += bytes(max(0, min(255, round(255 * part)))
                          for part in color(x / width, y / height))

    def chunk(name: bytes, data: bytes) -> bytes:
        return (struct.pack(">I", len(data)) + name + data
                + struct.pack(">I", zlib.crc32(name + data)))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
            + chunk(b"IDAT", zlib.compress(bytes(rows), 6))
            + chunk(b"IEND", b""))


def dawn(x: float, y: float) -> tuple[float, float, float]:
    sun = max(0.0, 1 - math.hypot(x - 0.5, (y - 0.62) * 0.75) * 5)
    return 0.25 + 0.7 * y + sun, 0.2 + 0.35 * y + sun * 0.8, 0.45 - 0.2 * y


def waves(x: float, y: float) -> tuple[float, float, float]:
    wave = math.sin(18 * x + 4 * math.sin(9 * y)) * math.cos(11 * y)
    return 0.1 + 0.1 * wave, 0.45 + 0.25 * wave, 0.6 + 0.3 * wave


def rings(x: float, y: float) -> tuple[float, float, float]:
    ring = math.sin(60 * math.hypot(x - 0.35, (y - 0.4) * 0.75))
    other = math.sin(60 * math.hypot(x - 0.7, (y - 0.6) * 0.75))
    return 0.5 + ring * other / 2, 0.35 + ring / 5, 0.45 + other / 4


def leaf(x: float, y: float) -> tuple[float, float, float]:
    real, imaginary = 3 * x - 2.1, 2.25 * y - 1.125
    point, constant = 0j, complex(real, imaginary)
    for step in range(40):
        point = point * point + constant
        if abs(point) > 2:
            return step / 60, 0.15 + step / 40, step / 90 + 0.1
    return 0.02, 0.1, 0.06


def ffmpeg(path: Path, *arguments: str) -> bytes:
    """What ffmpeg makes of the arguments; kept at path."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name("part." + path.name)
        subprocess.run(["ffmpeg", "-nostdin", "-loglevel", "error", "-y",
                        *arguments, str(part)], check=True)
        part.rename(path)
    return path.read_bytes()


def video(folder: Path, seconds: int = VIDEO_SECONDS) -> bytes:
    """A clock that counts seconds; noise makes it large."""
    return ffmpeg(
        folder / f"video-{seconds}.mp4",
        "-f", "lavfi", "-i", "testsrc=size=640x360:rate=25,"
        "noise=alls=30:allf=t,format=yuv420p",
        "-f", "lavfi", "-i", "sine=frequency=220:beep_factor=4",
        "-t", str(seconds), "-c:v", "libx264", "-preset", "ultrafast",
        "-b:v", "4M", "-minrate", "4M", "-maxrate", "4M", "-bufsize", "4M",
        "-g", "50", "-c:a", "aac", "-b:a", "64k", "-movflags", "+faststart")


def audio(folder: Path) -> bytes:
    return ffmpeg(
        folder / "audio.mp3",
        "-f", "lavfi", "-i", "aevalsrc='0.2*sin(2*PI*220*t)"
        "+0.15*sin(2*PI*277.18*t)*lt(mod(t\\,4)\\,3)"
        "+0.15*sin(2*PI*329.63*t)*lt(mod(t\\,3)\\,2)':d=30",
        "-c:a", "libmp3lame", "-b:a", "128k")


def samples(folder: Path) -> Iterator[Sample]:
    """Everything; the names are as unkind as those of real buckets."""
    image = "image/png"
    listed = [
        Sample("images/dawn.png", image, png(480, 360, dawn), "Dawn"),
        Sample("images/sea + sky.png", image, png(480, 360, waves),
               "Spaces and a plus"),
        Sample("images/100% rings?#1.png", image, png(480, 360, rings),
               "%, ? and #"),
        Sample("images/緑の葉/café.png", image, png(480, 360, leaf),
               "UTF-8 in folder and file"),
        Sample("audio/three notes.mp3", "audio/mpeg", audio(folder),
               "Half a minute of three notes"),
        Sample("video/clock.mp4", "video/mp4", video(folder),
               "A minute of a clock: jump where you like"),
        Sample("data/readings.json", "application/json", json.dumps(
            {"station": "Łódź", "unit": "°C",
             "readings": [round(12 + 8 * math.sin(i / 4), 1)
                          for i in range(24)]},
            ensure_ascii=False, indent=1).encode(), "Readings of a day"),
    ]
    index = [{"name": item.name, "type": item.content_type,
              "size": len(item.data), "title": item.title}
             for item in listed]
    yield from listed
    yield Sample("gallery.json", "application/json",
                 json.dumps(index, ensure_ascii=False, indent=1).encode())
