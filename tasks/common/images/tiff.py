"""Read TIFF files of any compression and layout with tifffile and imagecodecs.

tifffile decodes; what it does not do is here: telling truncated and sparse files, which it fills
with zeros, and showing palettes, CMYK, YCbCr and inverted grays as colours.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from PIL import Image as Pillow
from tifffile import TiffFile, TiffPage, TiffPageSeries

from tasks.common.images.decoded import Colours, FlatImage, Pixels
from tasks.common.images.lossy import lossy_kind
from tasks.common.images.orientation import TAG, valid

STARTS: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MIN_IS_WHITE, _PALETTE, _SEPARATED, _YCBCR = 0, 3, 5, 6
_PHOTOMETRIC: Final = 262
_INK_SET: Final = 332
_PLAIN: Final = (1, 2, 4, 34892)  # MinIsBlack, RGB, transparency mask, linear raw
_PLANAR: Final = 2  # a plane after the other
_ALPHA: Final = (1, 2)
_DECODES_TO_RGB: Final = (6, 7, 33007, 34892, 50001)  # kinds of JPEG, and WebP
_JPEG_2000: Final = (33003, 33004, 33005, 34712)
_MAY_BE_LOSSY: Final = (*_DECODES_TO_RGB, *_JPEG_2000)


def tiff_tags(path: Path) -> dict[int, Any]:
    """Return the tags of a TIFF file's first page by number; nothing for other files."""
    with path.open("rb") as file:
        if file.read(4) not in STARTS:
            return {}
    with TiffFile(path, _multifile=False) as source:
        return {tag.code: tag.value for tag in source.pages.first.tags}


def read_tiff(path: Path, *, stored: bool) -> FlatImage:
    """Return the pages of a TIFF or BigTIFF file, (H, W) or (H, W, C) each.

    Reduced copies of a page, transparency masks and alpha channels are left out. Channels that
    ImageJ or OME store as pages become channels. MinIsWhite is inverted at any depth of unsigned
    numbers; palettes, CMYK and YCbCr become RGB; fewer than 8 bits are scaled to 0 to 255. With
    ``stored``, which masks need, none of this is done to colours; only two levels become 0 and 255,
    unless they are palette indices. A file that is damaged, truncated or sparse, or whose
    compression or colour space is not read, is a ValueError that follows the file's name.
    """
    try:
        with TiffFile(path, _multifile=False) as source:
            return _read(source, stored=stored)
    except ValueError:
        raise
    except Exception as error:  # every codec of imagecodecs has an error of its own
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _read(source: TiffFile, *, stored: bool) -> FlatImage:
    pages = [_checked(page, source) for page in _pages(source)]
    series = source.series[0] if _is_described(source) else None
    alphas: list[Pixels] = []
    decoded = []
    for pixels, page in _decoded(pages, series):
        decoded.append(_shown(pixels, page, stored=stored))
        alphas += [pixels[..., n] for n in _alpha_channels(pixels, page)[:1] if stored]
    palettes = [_palette(page) for page in pages if stored]
    return FlatImage(
        pages=decoded if series is None else _channels_last(decoded, series),
        orientation=valid(pages[0].tags.valueof(TAG, 1)),
        palettes=tuple(palette for palette in palettes if palette is not None),
        alphas=tuple(alphas),
        min_is_white=_PHOTOMETRIC in pages[0].tags and pages[0].photometric == _MIN_IS_WHITE,
        lossy=_lossy(pages[0], source),
    )


def _lossy(page: TiffPage, source: TiffFile) -> str:
    if int(page.compression) not in _MAY_BE_LOSSY:
        return ""
    source.filehandle.seek(page.dataoffsets[0])
    kind = lossy_kind(source.filehandle.read(page.databytecounts[0]))
    return f"{kind} within TIFF" if kind else ""


def _pages(source: TiffFile) -> list[TiffPage]:
    pages = [cast("TiffPage", source.pages.get(n, aspage=True)) for n in range(len(source.pages))]
    shown = [page for page in pages if not (page.is_reduced or page.is_mask)]
    if not shown:
        raise ValueError("it has no page of full size")
    if len({page.shape for page in shown}) > 1:
        sizes = " and ".join(dict.fromkeys(" x ".join(map(str, page.shape)) for page in shown))
        raise ValueError(f"it has pages of different shapes, {sizes}; save the page that is meant")
    return shown


def _checked(page: TiffPage, source: TiffFile) -> TiffPage:
    """Return the page if every strip is in the file."""
    size = source.filehandle.size
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        if offset <= 0 or count <= 0:
            raise ValueError("a part of it is not stored (sparse file)")
        if offset + count > size:
            raise ValueError("it is truncated")
    if not page.dataoffsets:
        raise ValueError("it has no pixels")
    return page


def _is_described(source: TiffFile) -> bool:
    """Return whether the file names the axes of its pages, or may hold more than it lists."""
    return bool(source.is_imagej or source.is_ome or source.is_shaped or source.is_stk)


def _decoded(
    pages: list[TiffPage], series: TiffPageSeries | None
) -> Iterator[tuple[Pixels, TiffPage]]:
    """Yield the pixels of each page, alpha included."""
    if series is not None and len(pages) == 1 and series.size > pages[0].size:
        # One page stands for many, as in ImageJ's stacks above 4 GB.
        for plane in series.asarray().reshape(-1, *pages[0].shape):
            yield plane, pages[0]
        return
    for page in pages:
        try:
            pixels = page.asarray()
        except Exception as error:  # as above
            name = getattr(page.compression, "name", page.compression)
            raise ValueError(f"its compression {name} fails: {error}") from error
        if page.imagedepth > 1 or pixels.dtype.kind not in "buif":
            what = f"pages of {page.imagedepth} slices, of numbers of type {pixels.dtype},"
            raise ValueError(f"{what} are not read; save a page per slice, of real numbers")
        if page.planarconfig == _PLANAR and page.samplesperpixel > 1:
            pixels = np.moveaxis(pixels, 0, -1)
        yield pixels, page


def _shown(pixels: Pixels, page: TiffPage, *, stored: bool) -> Pixels:
    """Return the pixels without alpha, converted to colours unless ``stored``."""
    alpha = _alpha_channels(pixels, page)
    if alpha:
        kept = [number for number in range(pixels.shape[-1]) if number not in alpha]
        pixels = pixels[..., kept[0]] if len(kept) == 1 else pixels[..., kept]
    if not stored:
        pixels = _spread(_coloured(pixels, page), page)
    if pixels.dtype != bool:
        return pixels
    levels = pixels.astype(np.uint8)
    return levels if page.photometric == _PALETTE else levels * np.uint8(255)


def _alpha_channels(pixels: Pixels, page: TiffPage) -> list[int]:
    first = pixels.shape[-1] - len(page.extrasamples)
    return [first + number for number, kind in enumerate(page.extrasamples) if kind in _ALPHA]


def _palette(page: TiffPage) -> Colours | None:
    """Return the page's palette, (levels, 4) of 8 bits with alpha 255."""
    if page.photometric != _PALETTE or page.colormap is None:
        return None
    table = page.colormap.T  # (levels, 3), 16 bits
    eight = table if table.max() < 256 else table >> 8  # some programs write 8 bits there
    return np.pad(eight.astype(np.uint8), ((0, 0), (0, 1)), constant_values=255)


def _coloured(pixels: Pixels, page: TiffPage) -> Pixels:
    photometric = int(page.photometric) if _PHOTOMETRIC in page.tags else 1
    if photometric in _PLAIN:
        return pixels
    if photometric == _MIN_IS_WHITE:
        return _inverted(pixels, bits=int(page.bitspersample))
    palette = _palette(page)
    if palette is not None:
        return palette[pixels.astype(np.intp), :3]
    if photometric == _SEPARATED:
        return _from_cmyk(pixels, page)
    if photometric == _YCBCR and int(page.compression) in _DECODES_TO_RGB:
        return pixels
    if photometric == _YCBCR and pixels.dtype == np.uint8 and pixels.shape[2:] == (3,):
        content = np.ascontiguousarray(pixels).tobytes()
        picture = Pillow.frombytes("YCbCr", (pixels.shape[1], pixels.shape[0]), content)
        return np.asarray(picture.convert("RGB"))
    name = getattr(page.photometric, "name", photometric)
    raise ValueError(f"its kind of colours, {name} in {pixels.dtype}, is not read; save it as RGB")


def _inverted(pixels: Pixels, *, bits: int) -> Pixels:
    if pixels.dtype == bool:
        return ~pixels
    if pixels.dtype.kind != "u":
        raise ValueError(
            f"its smallest number is white (MinIsWhite), which says nothing for {pixels.dtype}; "
            "save it as MinIsBlack"
        )
    inverted: Pixels = pixels.dtype.type(2**bits - 1) - pixels
    return inverted


def _from_cmyk(pixels: Pixels, page: TiffPage) -> Pixels:
    ink_set = page.tags.valueof(_INK_SET, 1)
    if pixels.dtype.kind != "u" or pixels.shape[2:] != (4,) or ink_set != 1:
        raise ValueError("its inks are not the four of CMYK; save it as RGB")
    top = float(np.iinfo(pixels.dtype).max)
    light = 1 - pixels / top
    colours: Pixels = np.rint(light[..., :3] * light[..., 3:] * top).astype(pixels.dtype)
    return colours


def _spread(pixels: Pixels, page: TiffPage) -> Pixels:
    """Scale numbers of fewer than 8 bits to 0 to 255."""
    bits = int(page.bitspersample)
    if pixels.dtype != np.uint8 or bits >= 8 or page.photometric == _PALETTE:
        return pixels
    return np.rint(pixels * (255 / (2**bits - 1))).astype(np.uint8)  # type: ignore[no-any-return]


def _channels_last(pages: list[Pixels], series: TiffPageSeries) -> list[Pixels]:
    """Stack the channels that ImageJ and OME store as pages."""
    named = series.kind in ("imagej", "ome") and series.axes[-2:] == "YX" and "C" in series.axes
    if not named or pages[0].ndim != 2 or len(pages) != np.prod(series.shape[:-2]):
        return pages
    stack = np.stack(pages).reshape(*series.shape[:-2], *pages[0].shape)
    stack = np.moveaxis(stack, series.axes.index("C"), -1)
    return list(stack.reshape(-1, *stack.shape[-3:]))
