"""Small files of the kinds that pages show, made when they are needed."""

from __future__ import annotations

import io
import math
import struct
import subprocess
import wave
import zlib
from pathlib import Path

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
NAMES = {"red": RED, "green": GREEN, "blue": BLUE}


def named(colour: list[int]) -> str:
    """What a canvas or a film shows, where colours are not exact."""
    for name, wanted in NAMES.items():
        if all(abs(one - two) < 40 for one, two in zip(colour, wanted)):
            return name
    return str(colour)


def png(colour: tuple[int, int, int] = GREEN, size: int = 16) -> bytes:
    """A square of one colour."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (struct.pack(">I", len(data)) + kind + data
                + struct.pack(">I", zlib.crc32(kind + data)))

    row = b"\0" + bytes(colour) * size
    return (b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", struct.pack(">2I5B", size, size, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(row * size))
            + chunk(b"IEND", b""))


def wav(seconds: int = 4, rate: int = 8000, silence: int = 0) -> bytes:
    """A tone, after so many seconds of silence."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        second = b"".join(
            struct.pack("<h", int(8000 * math.sin(400 * math.tau * i / rate)))
            for i in range(rate))
        sound.writeframes(bytes(2 * rate * silence)
                          + second * (seconds - silence))
    return file.getvalue()


def webm(folder: Path, seconds: int = 4) -> bytes:
    """Red in its first half and blue in its second; needs ffmpeg."""
    half = f"size=64x64:rate=10:duration={seconds / 2}"
    path = folder / "film.webm"
    subprocess.run(
        ["ffmpeg", "-loglevel", "error", "-y",
         "-f", "lavfi", "-i", f"color=red:{half}",
         "-f", "lavfi", "-i", f"color=blue:{half}",
         "-filter_complex", "concat=n=2", "-c:v", "libvpx",
         "-deadline", "realtime", "-g", "5", path],
        check=True, stdin=subprocess.DEVNULL)
    return path.read_bytes()


def mp4(folder: Path, seconds: int = 40) -> bytes:
    """Some megabytes a second of noise; in the middle is a square, red in
    the first half and blue in the second.  Needs ffmpeg."""
    square = "drawbox=x=256:y=116:w=128:h=128:t=fill"
    path = folder / "film.mp4"
    subprocess.run(
        ["ffmpeg", "-loglevel", "error", "-y", "-f", "lavfi", "-i",
         f"color=gray:size=640x360:rate=10:duration={seconds},"
         "noise=alls=100:allf=t,"
         f"{square}:color=red:enable='lt(t,{seconds / 2})',"
         f"{square}:color=blue:enable='gte(t,{seconds / 2})'",
         "-c:v", "libx264", "-preset", "ultrafast", "-crf", "20", "-g", "10",
         "-pix_fmt", "yuv420p", "-movflags", "+faststart", path],
        check=True, stdin=subprocess.DEVNULL)
    return path.read_bytes()


def ttf(width: int = 3) -> bytes:
    """A font whose only letter, "A", is so many times as wide as high."""
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen

    pen = TTGlyphPen(None)
    for i, point in enumerate([(0, 0), (0, 700), (700, 700)]):
        (pen.lineTo if i else pen.moveTo)(point)
    pen.closePath()

    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder([".notdef", "A"])
    font.setupCharacterMap({ord("A"): "A"})
    font.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "A": pen.glyph()})
    font.setupHorizontalMetrics({".notdef": (500, 0), "A": (1000 * width, 0)})
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": "wide", "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()

    file = io.BytesIO()
    font.save(file)
    return file.getvalue()


def pdf() -> bytes:
    """One page with a green rectangle."""
    drawing = b"0 1 0 rg 0 0 200 200 re f"
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]/Contents 4 0 R"
        b"/Resources<<>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(drawing), drawing)]

    text, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(text))
        text += b"%d 0 obj%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    return text + (
        b"xref\n0 %d\n0000000000 65535 f \n%strailer<</Size %d/Root 1 0 R>>\n"
        b"startxref\n%d\n%%%%EOF\n" % (len(places) + 1, table,
                                      len(places) + 1, len(text)))
