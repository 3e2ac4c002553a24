import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from hiercam_keras.data import decode

RED, GREEN, BLUE, WHITE = (200, 10, 10), (10, 200, 10), (10, 10, 200), (250, 250, 250)


def quarters(width=32, height=16):
    """Red and green above, blue and white below."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = RED
    image[: height // 2, width // 2 :] = GREEN
    image[height // 2 :, : width // 2] = BLUE
    image[height // 2 :, width // 2 :] = WHITE
    return Image.fromarray(image)


def corners(image):
    """Names of the colors top left, top right, bottom left, bottom right."""
    pixels = np.asarray(image).astype(int)
    names = {"R": RED, "G": GREEN, "B": BLUE, "W": WHITE}
    found = ""
    for y, x in ((3, 3), (3, -4), (-4, 3), (-4, -4)):
        name = min(names, key=lambda n: np.abs(pixels[y, x] - names[n]).sum())
        assert np.abs(pixels[y, x] - names[name]).max() < 40, pixels[y, x]
        found += name
    return found


def save(image, path, **options):
    image.save(path, **options)
    return path


def test_clean_jpeg_is_left_alone(tmp_path):
    facts, image = decode.examine(save(quarters(), tmp_path / "a.jpg"))
    assert facts == decode.Facts(32, 16, "JPEG", "RGB", 1, "")
    assert corners(image) == "RGBW"


# Colors of the four corners when stored pixels RGBW are rotated by EXIF. The first
# row and column of the stored image are displayed: 6 right and top, 8 left and bottom.
TURNS = {2: "GRWB", 3: "WBGR", 4: "BWRG", 5: "RBGW", 6: "BRWG", 7: "WGBR", 8: "GWRB"}


@pytest.mark.parametrize("orientation", TURNS)
def test_exif_turns_pixels_and_boxes(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    facts, image = decode.examine(save(quarters(), tmp_path / "a.jpg", exif=exif))
    assert corners(image) == TURNS[orientation]
    assert facts.orientation == orientation
    assert (facts.width, facts.height) == image.size
    assert image.size == ((16, 32) if orientation > 4 else (32, 16))
    # The box of the stored red quarter is where red is displayed.
    x0, y0, x1, y1 = decode.turn_box((0, 0, 16, 8), 32, 16, orientation)
    assert (x1 - x0) * (y1 - y0) == 16 * 8
    shown = np.asarray(image)[int(y0) : int(y1), int(x0) : int(x1)].astype(int)
    assert np.abs(np.median(shown, axis=(0, 1)) - RED).max() < 20


def test_damaged_exif_is_upright(tmp_path):
    path = save(quarters(), tmp_path / "a.jpg", exif=b"Exif\0\0nonsense")
    facts, _ = decode.examine(path)
    assert facts.orientation == 1


@pytest.mark.parametrize("orientation", TURNS)
def test_exif_turns_a_tiff_file_once(tmp_path, orientation):
    """Pillow turns its pixels, as it reads them, and has turned its size before."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:8, :16] = 255
    Image.fromarray(pixels).save(tmp_path / "a.tif", exif=exif)
    facts, image = decode.examine(tmp_path / "a.tif")
    assert (facts.width, facts.height) == image.size
    assert image.size == ((16, 32) if orientation > 4 else (32, 16))


@pytest.mark.parametrize("form", ["PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_other_formats_called_jpg(tmp_path, form):
    path = tmp_path / "a.jpg"
    quarters().save(path, format=form)
    facts, image = decode.examine(path)
    assert facts.format == form
    assert corners(image) == "RGBW" and image.mode == "RGB"
    # An RGB PNG is as good as a JPEG, under any name.
    assert (facts.why_convert == "") == (form == "PNG")


def test_cmyk_and_gray(tmp_path):
    facts, image = decode.examine(
        save(quarters().convert("CMYK"), tmp_path / "c.jpg", quality=95)
    )
    assert (facts.mode, facts.why_convert) == ("CMYK", "CMYK pixels")
    assert corners(image) == "RGBW"
    facts, image = decode.examine(save(quarters().convert("L"), tmp_path / "g.jpg"))
    assert facts.mode == "L" and image.mode == "RGB"
    # BT.601: 0.299 * 200 + 0.587 * 10 + 0.114 * 10 = 66.8
    assert abs(int(np.asarray(image)[3, 3, 1]) - 67) <= 2


def test_transparency_is_laid_over_white(tmp_path):
    pixels = np.zeros((16, 16, 4), np.uint8)
    pixels[:, :8] = (*RED, 255)
    pixels[:, 8:] = (0, 0, 0, 0)
    facts, image = decode.examine(save(Image.fromarray(pixels), tmp_path / "a.png"))
    assert facts.mode == "RGBA" and facts.why_convert
    found = np.asarray(image)
    assert tuple(found[5, 2]) == RED and tuple(found[5, 12]) == (255, 255, 255)


def test_transparent_color_of_an_rgb_png(tmp_path):
    path = save(quarters(), tmp_path / "a.png", transparency=RED)
    facts, image = decode.examine(path)
    assert (facts.mode, facts.why_convert) == ("RGB", "transparency")
    assert tuple(np.asarray(image)[3, 3]) == (255, 255, 255)


def test_palette(tmp_path):
    facts, image = decode.examine(save(quarters().quantize(8), tmp_path / "a.png"))
    assert facts.mode == "P" and corners(image) == "RGBW"


def test_16_bits_keep_the_high_byte(tmp_path):
    gray = (np.arange(64 * 16, dtype=np.uint16).reshape(16, 64) * 64).astype(np.uint16)
    facts, image = decode.examine(save(Image.fromarray(gray), tmp_path / "a.png"))
    assert facts.mode == "I;16"
    np.testing.assert_array_equal(np.asarray(image)[:, :, 1], gray >> 8)


def png16(rgb):
    """An RGB PNG with 16 bits a channel, which Pillow cannot write: big-endian rows."""

    def chunk(kind, data):
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    height, width, _ = rgb.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in rgb)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def test_16_bit_rgb(tmp_path):
    wide = np.asarray(quarters()).astype(np.uint16) * 256 + 77
    (tmp_path / "a.png").write_bytes(png16(wide))
    facts, image = decode.examine(tmp_path / "a.png")
    assert facts.why_convert == "RGB;16 pixels"
    np.testing.assert_array_equal(np.asarray(image), wide >> 8)


def test_very_wide_image_is_shrunk(tmp_path):
    path = save(quarters(20000, 40), tmp_path / "a.jpg")
    facts, image = decode.examine(path)
    assert (facts.width, facts.height) == (20000, 40)
    assert image.size == (4096, 8)
    assert facts.why_convert == "20000 x 40 pixels"
    assert np.abs(np.asarray(image)[1, 5].astype(int) - RED).max() < 60


def test_animation_gives_its_first_frame(tmp_path):
    frames = [quarters(), Image.new("RGB", (32, 16), "black")]
    path = tmp_path / "a.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    _, image = decode.examine(path)
    assert corners(image) == "RGBW"


def bomb(width, height):
    """A PNG with a header of more pixels than the limit."""
    small = png16(np.zeros((1, 1, 3), np.uint16))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    crc = struct.pack(">I", zlib.crc32(b"IHDR" + header))
    return small[:16] + header + crc + small[33:]


def bad_files():
    jpeg = _bytes(quarters(200, 100), "JPEG")
    return {
        "empty": (b"", "empty"),
        "truncated": (jpeg[: len(jpeg) // 2], "truncated"),
        "header only": (jpeg[:20], "cannot be decoded|not an image"),
        "text": (b"I am no bird.\n" * 50, "not an image"),
        "one pixel": (_bytes(Image.new("RGB", (1, 1)), "JPEG"), "too small: 1 x 1"),
        "one row": (_bytes(Image.new("RGB", (900, 1)), "PNG"), "too small: 900 x 1"),
        "bomb": (bomb(60000, 60000), "3600 megapixels; the limit is 180"),
        "floats": (
            _bytes(Image.fromarray(np.zeros((8, 8), np.float32)), "TIFF"),
            "range",
        ),
    }


def _bytes(image, form):
    import io

    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()


@pytest.mark.parametrize("fault", bad_files())
def test_what_cannot_be_read_has_a_reason(tmp_path, fault):
    content, reason = bad_files()[fault]
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(decode.BadImage, match=reason):
        decode.examine(tmp_path / "a.jpg")


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(decode.BadImage, match="missing"):
        decode.examine(tmp_path / "none.jpg")
    with pytest.raises(decode.BadImage, match="directory"):
        decode.examine(tmp_path)
