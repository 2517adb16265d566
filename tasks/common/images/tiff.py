"""Read TIFF files in any compression and layout, by tifffile and imagecodecs alone."""

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
    """Return the tags of the first page of a TIFF file by number; of other files none.

    A rational number is a pair.
    """
    with path.open("rb") as file:
        if file.read(4) not in STARTS:
            return {}
    with TiffFile(path, _multifile=False) as source:
        return {tag.code: tag.value for tag in source.pages.first.tags}


def read_tiff(path: Path, *, stored: bool) -> FlatImage:
    """Return what a TIFF file holds: (H, W) or (H, W, C) of each page.

    Smaller copies of a page and transparency masks are no pages, nor is an alpha channel a channel.
    What ImageJ and OME call channels become channels, whatever the order of the pages.

    Images come as they are shown: where the smallest number is white (MinIsWhite), unsigned numbers
    are inverted, whatever their depth; palettes, CMYK and YCbCr become RGB; fewer than 8 bits are
    spread over 0 to 255. Other numbers stay as they are.

    Args:
        path: A TIFF or BigTIFF file.
        stored: Whether to return the stored numbers instead, as masks need them: nothing is
            inverted or spread, a palette gives its indices. Two levels are 0 and 255 all the same,
            unless they are indices.

    Raises:
        ValueError: If it is damaged or truncated, a part of it is missing, or its compression or
            its kind of colours is not read; with what that is. The message goes on after the name.
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
        alphas += _alphas(pixels, page) if stored else []
    palettes = [_palette(page) for page in pages] if stored else []
    return FlatImage(
        pages=decoded if series is None else _channels_last(decoded, series),
        orientation=valid(pages[0].tags.valueof(TAG, 1)),
        palettes=tuple(palette for palette in palettes if palette is not None),
        alphas=tuple(alphas),
        min_is_white=_PHOTOMETRIC in pages[0].tags and pages[0].photometric == _MIN_IS_WHITE,
        lossy=_lossy(pages[0], source),
    )


def _lossy(page: TiffPage, source: TiffFile) -> str:
    """Return what its first part is if that changed the numbers."""
    if int(page.compression) not in _MAY_BE_LOSSY:
        return ""
    source.filehandle.seek(page.dataoffsets[0])
    kind = lossy_kind(source.filehandle.read(page.databytecounts[0]))
    return f"{kind} within TIFF" if kind else ""


def _pages(source: TiffFile) -> list[TiffPage]:
    pages = [
        cast("TiffPage", source.pages.get(number, aspage=True))
        for number in range(len(source.pages))
    ]
    shown = [page for page in pages if not (page.is_reduced or page.is_mask)]
    if not shown:
        raise ValueError("it has no page of full size")
    if len({page.shape for page in shown}) > 1:
        sizes = " and ".join(dict.fromkeys(" x ".join(map(str, page.shape)) for page in shown))
        raise ValueError(f"it has pages of different shapes, {sizes}; save the page that is meant")
    return shown


def _checked(page: TiffPage, source: TiffFile) -> TiffPage:
    """Return a page all of whose parts are in the file; tifffile would fill in zeros."""
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
    """Return whether the file says what its pages are, or has more of them than it lists."""
    return bool(source.is_imagej or source.is_ome or source.is_shaped or source.is_stk)


def _decoded(
    pages: list[TiffPage], series: TiffPageSeries | None
) -> Iterator[tuple[Pixels, TiffPage]]:
    """Yield the numbers of each page, (H, W) or (H, W, C) with alpha, and the page."""
    if series is not None and len(pages) == 1 and series.size > pages[0].size:
        # A page that stands for many, as in stacks of ImageJ above 4 GB.
        for plane in series.asarray().reshape(-1, *pages[0].shape):
            yield plane, pages[0]
        return
    for page in pages:
        try:
            pixels = page.asarray()
        except Exception as error:  # as above
            raise ValueError(f"its compression {_compression(page)} fails: {error}") from error
        if page.imagedepth > 1 or pixels.dtype.kind not in "buif":
            what = f"pages of {page.imagedepth} slices, of numbers of type {pixels.dtype},"
            raise ValueError(f"{what} are not read; save a page per slice, of real numbers")
        if page.planarconfig == _PLANAR and page.samplesperpixel > 1:
            pixels = np.moveaxis(pixels, 0, -1)
        yield pixels, page


def _shown(pixels: Pixels, page: TiffPage, *, stored: bool) -> Pixels:
    """Return the pixels without alpha, and as they are shown unless ``stored``."""
    alpha = sum(kind in _ALPHA for kind in page.extrasamples)
    if alpha:
        first = pixels.shape[-1] - len(page.extrasamples)
        extra = [first + n for n, kind in enumerate(page.extrasamples) if kind not in _ALPHA]
        kept = [*range(first), *extra]
        pixels = pixels[..., kept[0]] if len(kept) == 1 else pixels[..., kept]
    if not stored:
        pixels = _spread(_coloured(pixels, page), page)
    if pixels.dtype != bool:
        return pixels
    levels = pixels.astype(np.uint8)
    return levels if page.photometric == _PALETTE else levels * np.uint8(255)


def _alphas(pixels: Pixels, page: TiffPage) -> list[Pixels]:
    """Return the alpha channel, (H, W); of several the first."""
    first = pixels.shape[-1] - len(page.extrasamples)
    kinds = list(enumerate(page.extrasamples))
    return [pixels[..., first + number] for number, kind in kinds if kind in _ALPHA][:1]


def _palette(page: TiffPage) -> Colours | None:
    """Return (levels, 4) of 8 bits, alpha being 255; None if the page has no palette."""
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
    """Return (H, W, 3) of inks."""
    ink_set = page.tags.valueof(_INK_SET, 1)
    if pixels.dtype.kind != "u" or pixels.shape[2:] != (4,) or ink_set != 1:
        raise ValueError("its inks are not the four of CMYK; save it as RGB")
    top = float(np.iinfo(pixels.dtype).max)
    light = 1 - pixels / top
    colours: Pixels = np.rint(light[..., :3] * light[..., 3:] * top).astype(pixels.dtype)
    return colours


def _spread(pixels: Pixels, page: TiffPage) -> Pixels:
    """Return numbers of fewer than 8 bits over the whole of 8."""
    bits = int(page.bitspersample)
    if pixels.dtype != np.uint8 or bits >= 8 or page.photometric == _PALETTE:
        return pixels
    spread: Pixels = np.rint(pixels * (255 / (2**bits - 1))).astype(np.uint8)
    return spread


def _channels_last(pages: list[Pixels], series: TiffPageSeries) -> list[Pixels]:
    """Return the pages of ImageJ and OME with their channels together."""
    named = series.kind in ("imagej", "ome") and series.axes[-2:] == "YX" and "C" in series.axes
    if not named or pages[0].ndim != 2 or len(pages) != np.prod(series.shape[:-2]):
        return pages
    stack = np.stack(pages).reshape(*series.shape[:-2], *pages[0].shape)
    stack = np.moveaxis(stack, series.axes.index("C"), -1)
    return list(stack.reshape(-1, *stack.shape[-3:]))


def _compression(page: TiffPage) -> str:
    return str(getattr(page.compression, "name", page.compression))
