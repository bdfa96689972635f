"""Figures to SVG that stands alone and can be put into a page as it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mriprep.mosaic import BACK, FRONT

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

QUALITY = 78  # of JPEG: a fifth less than at 87, and the same to the eye
INHERITED = 'stroke-linejoin:round;stroke-linecap:butt'
# Slow enough (under one change a second) to be safe for readers with photosensitive epilepsy.
FLICKER_CSS = (
    f'@keyframes mriprep-flicker{{0%,40%{{opacity:1}}60%,100%{{opacity:0}}}}'
    f'.mriprep-flicker:hover .{FRONT},.mriprep-flicker:focus .{FRONT}'
    '{animation:mriprep-flicker 1.2s ease-in-out infinite alternate}'
)


def save_svg(figure: Figure, path: Path) -> Path:
    """Write a figure as SVG that stands alone and can be put into HTML as it is.

    Pixels are stored as JPEG, the size follows the page, and equal figures give equal bytes.
    Layers of `template_overlay` are shown in turns under the pointer.
    """
    from io import StringIO

    import matplotlib

    buffer = StringIO()
    fixed: Any = {'svg.hashsalt': str(figure.get_label()), 'svg.fonttype': 'none'}
    with matplotlib.rc_context(fixed), _without_pixels(figure) as pictures:
        figure.savefig(
            buffer, format='svg', metadata={'Date': None, 'Creator': None}, facecolor='auto'
        )
    remaining = iter(pictures)
    text = re.sub(
        r'<image [^>]*?width="1" height="1" (transform="[^"]+")[^>]*/>',
        lambda match: _jpeg_element(next(remaining), match[1]),
        buffer.getvalue(),
    )
    text = re.sub(r' d="[^"]+"', _shortened, text)
    text = re.sub(r'font-family: [^;"]+', "font-family: 'DejaVu Sans', Verdana, sans-serif", text)
    text = re.sub(r'<metadata>.*?</metadata>\s*', '', text, flags=re.DOTALL)
    path.write_text(_dressed(text, str(figure.get_label())), encoding='utf-8')
    return path


@contextmanager
def _without_pixels(figure: Figure) -> Iterator[list[NDArray[np.uint8]]]:
    """Give the rasters of a figure, and keep matplotlib from packing them as PNG, which is slow."""
    images = [image for axes in figure.axes for image in axes.images]
    pictures = [np.asarray(image.get_array(), dtype=np.uint8) for image in images]
    try:
        for image in images:
            image.set_data(np.zeros((1, 1, 3), dtype=np.uint8))
        yield pictures
    finally:
        for image, picture in zip(images, pictures, strict=True):
            image.set_data(picture)


def _jpeg_element(picture: NDArray[np.uint8], transform: str) -> str:
    """Element of an image that stood at 1 by 1 pixel; JPEG has a fifth of the size of PNG."""
    from base64 import b64encode
    from io import BytesIO

    from PIL import Image

    packed = BytesIO()
    image = Image.fromarray(picture)
    if (picture == picture[..., :1]).all():
        image = image.convert('L')
    image.save(packed, 'JPEG', quality=QUALITY, optimize=True)
    return (
        f'<image width="1" height="1" preserveAspectRatio="none" {transform} '
        f'xlink:href="data:image/jpeg;base64,{b64encode(packed.getvalue()).decode()}"/>'
    )


def _shortened(match: re.Match[str]) -> str:
    """Write a path of straight lines with steps of tenths of a point; others to hundredths."""
    words = match[0][4:-1].split()
    if not set('MLz').issuperset(word for word in words if word.isalpha()):
        return re.sub(r'\d+\.\d{3,}', lambda number: f'{float(number[0]):.2f}', match[0])
    out, x, y, at = [], 0, 0, 0
    while at < len(words):
        letter = words[at]
        if letter == 'z':
            out.append('z')
            at += 1
            continue
        to_x, to_y = (round(10 * float(word)) for word in words[at + 1 : at + 3])
        # where a path begins counts from the corner, so that errors don't add up
        step = (to_x, to_y) if letter == 'M' else (to_x - x, to_y - y)
        out.append(f'{letter if letter == "M" else "l"}{step[0] / 10:g} {step[1] / 10:g}')
        x, y, at = to_x, to_y, at + 3
    return f' d="{"".join(out)}"'


def _dressed(text: str, title: str) -> str:
    """Replace the head of the document: no fixed size, a title, and the style of the layers.

    Nothing in it reaches beyond the picture when it is put into a page: matplotlib's style for
    every element becomes one of the root, and groups lose their numbered names.
    """
    from html import escape

    body = text[text.index('<svg') :]
    head, rest = body.split('>', 1)
    flickers = f'id="{FRONT}"' in rest
    for group in (FRONT, BACK):
        rest = rest.replace(f'id="{group}"', f'class="{group}"')
    rest = re.sub(r'<g id="[^"]*"', '<g', rest)
    rest = re.sub(r'<style type="text/css">\*.*?</style>', '', rest)
    head = re.sub(r' (width|height)="[^"]*"', '', head)
    kind = ' class="mriprep-flicker" tabindex="0"' if flickers else ''
    style = f'<style>{FLICKER_CSS}</style>' if flickers else ''
    label = escape(title)
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'{head} role="img" aria-label="{label}"{kind} style="{INHERITED}">\n'
        f'<title>{label}</title>{style}{rest}'
    )
