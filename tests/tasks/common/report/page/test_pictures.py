"""Pictures are inside the page, small, and what they were."""

import base64
import io

import numpy as np
from PIL import Image

from tasks.common.report.page.blocks import Gallery, Picture
from tasks.common.report.page.pictures import BUDGET, data_address, gallery, pixels_for
from tests.tasks.common.report.page.parsed import parse


def decoded(address):
    kind, _, text = address.partition(",")
    assert kind == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB")


def noise(height, width):
    """The hardest that there is for a codec."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_a_small_picture_keeps_its_size_and_its_colours():
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, 30:] = (0, 158, 115)
    address, *size = data_address(image, 640_000)
    assert size == [60, 40]
    difference = np.asarray(decoded(address), int) - image
    assert np.abs(difference[:, [*range(24), *range(36, 60)]]).max() <= 6


def test_a_large_picture_is_made_smaller():
    address, *size = data_address(np.zeros((1000, 2000, 3), np.uint8), 125_000)
    assert size == [500, 250]
    assert decoded(address).size == (500, 250)


def test_many_pictures_stay_within_the_budget():
    """Those of a camera take about half of what is reckoned with; noise takes several times it."""
    counts = (1, 12, 48, 200)
    assert [pixels_for(count) for count in counts] == [640_000, 640_000, 250_000, 60_000]
    smooth = np.asarray(Image.fromarray(noise(12, 16)).resize((500, 375)), np.uint8)
    length = len(data_address(smooth, 250_000)[0]) * 3 / 4
    assert 48 * length < BUDGET


def test_a_gallery_says_what_it_shows():
    picture = Picture(
        image=np.zeros((8, 8, 3), np.uint8),
        caption="<one>.png, 3 found",
        alt="A cell & its box",
        badges=("2 missed", "1 false", "3 found"),
    )
    block = Gallery(
        title="Worst", pictures=[picture], note="Worst first.", legend={"a<b": (1, 2, 3)}
    )
    tree = parse(gallery(block, 10_000))
    image = tree.one("img")
    assert image.attributes["alt"] == "A cell & its box"
    assert (image.attributes["width"], image.attributes["height"]) == ("8", "8")
    assert tree.one("figcaption").children[0].text == "<one>.png, 3 found"
    assert [badge.text for badge in tree.all("span", "badge")] == ["2 missed", "1 false"]
    assert tree.one("button").attributes["aria-label"] == "Enlarge: <one>.png, 3 found"
    assert tree.one("li").text == "a<b"
    assert tree.one("i").attributes["style"] == "background:rgb(1, 2, 3)"
