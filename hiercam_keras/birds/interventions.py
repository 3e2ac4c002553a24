"""A bird drawn with one part exchanged or removed, and all else as it was.

The parts carry the traits of a rank each (`tree.EVIDENCE`), but a network may look
elsewhere. The change of its answers when one part of a picture is exchanged says what
it uses: pose, place, colors, light and clutter are those of the same picture, and the
anchors of the other parts stay where they are.
After FunnyBirds, Hesse et al., ICCV 2023, arXiv:2308.06248.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from hiercam_keras.birds import draw
from hiercam_keras.birds.anatomy import build
from hiercam_keras.birds.bird import Bird
from hiercam_keras.birds.donors import RANK_OF_PART, draw_donor, form, taxon
from hiercam_keras.birds.habitats import HABITATS, NO_HABITAT
from hiercam_keras.birds.patch import patch_on
from hiercam_keras.birds.picture import Setup, develop
from hiercam_keras.birds.tree import SyntheticSpecies
from hiercam_keras.errors import UserError

PARTS = ("body", "bill_and_tail", "wing", "patch", "habitat", "legs")
BIRD = "bird"  # the whole bird, a further part
PLACEMENT = "placement"  # its size and place in the picture, another one
WHOLE = (BIRD, PLACEMENT)
HOWS = ("sibling", "unrelated", "removed")


@dataclass(frozen=True)
class Intervention:
    """A bird with one part exchanged.

    Attributes:
      image: uint8 (size, size, 3).
      mask: bool (size, size), the pixels that show the part before or after, within one
        pixel of its labels; every other pixel is that of the bird as it was. Of the
        habitat: the pixels that the bird does not cover entirely. Of a whole bird: all
        pixels that show one.
      parts: uint8 (size, size), the new labels as in `draw.PARTS`.
      part: one of PARTS or WHOLE. how: one of HOWS.
      rank: that the part's form is of.
      donor: name of the taxon of that rank that gave the form; "" if there was none.
      changed: whether any pixel differs. False where no taxon has another form and
        where the part was hidden: then the effect is 0 by construction.
    """

    image: np.ndarray
    mask: np.ndarray
    parts: np.ndarray
    part: str
    how: str
    rank: str
    donor: str
    changed: bool


def exchange(bird: Bird, part: str, how: str, *, seed: int = 0) -> Intervention:
    """Draws a bird with one part changed.

    Args:
      bird: as from `bird_at` or `bird_of`.
      part: one of PARTS or WHOLE. A body is drawn with its eye and without what is
        attached to it: bill, tail, wing, patch and legs stay where the bird has them.
        With BIRD they move along: the bird is drawn with another body plan in its place
        and posture, and fitted to the picture; the background stays. With PLACEMENT
        it keeps all its forms, and is as large and where it would be with the donor's
        bill and tail, to which the generator fits it; it cannot be removed.
      how: "sibling" or "unrelated" for the form of another taxon (`donors.donors`), or
        "removed" for what the generator draws without the part: what it hid is seen.
        A removed habitat is a gray ground with the same clutter.
      seed: of the choice among taxa.

    Raises:
      UserError: if there is no such part or way.
    """
    return next(exchanges(bird, (part,), (how,), seed=seed))


def exchanges(
    bird: Bird,
    parts: Sequence[str] = PARTS,
    hows: Sequence[str] = HOWS,
    *,
    seed: int = 0,
) -> Iterator[Intervention]:
    """Yields `exchange` of each part in each way; the bird is drawn once for all."""
    check(parts, hows)
    setup = bird.set_up()
    regions = setup.regions()
    before = develop(setup, regions)
    for part in parts:
        whole = dict.fromkeys(WHOLE, draw.PARTS[1:])
        shown = {"habitat": draw.PARTS[:1], **whole}.get(part, (part,))
        for how in hows:
            donor = None if how == "removed" else draw_donor(bird, part, how, seed)
            gone = how == "removed" and part != PLACEMENT
            if gone or donor is not None:
                other, seen = redrawn(bird, setup, regions, part, donor)
            else:
                other, seen = setup, regions
            drawn = develop(other, seen)
            mask = draw.footprint(regions, shown) | draw.footprint(seen, shown)
            if part not in WHOLE:
                mask &= _near_labels(before.parts, drawn.parts, shown)
            # Shading is blurred beyond a part; outside it that of the bird is kept.
            image = np.where(mask[..., None], drawn.image, before.image)
            yield Intervention(
                image=image,
                mask=mask,
                parts=drawn.parts,
                part=part,
                how=how,
                rank=RANK_OF_PART[part],
                donor="" if donor is None else taxon(donor, part),
                changed=bool((image != before.image).any()),
            )


def check(parts: Sequence[str], hows: Sequence[str]) -> None:
    """Raises UserError for what is none of PARTS and WHOLE, or of HOWS."""
    for name, values, known in (("part", parts, (*PARTS, *WHOLE)), ("how", hows, HOWS)):
        for value in values:
            if value not in known:
                raise UserError(
                    f"synthetic birds: {name} must be one of {', '.join(known)}, found "
                    f"'{value}'."
                )


def redrawn(
    bird: Bird,
    setup: Setup,
    regions: Image.Image,
    part: str,
    donor: SyntheticSpecies | None,
) -> tuple[Setup, Image.Image]:
    """Setup and regions with a donor's form of a part, or without the part.

    Drawn as a whole they also differ next to the part, by the blur of its shade.
    """
    if part == "habitat":
        instead = NO_HABITAT if donor is None else HABITATS[donor.habitat]
        return bird.set_up(instead=instead), regions
    if donor is None:
        return setup, setup.regions(without=part)
    if part in WHOLE:
        look = donor.look
        if part == PLACEMENT:
            look = dataclasses.replace(setup.look, bill_tail=look.bill_tail)
        other = bird.set_up(look=look)
        other = dataclasses.replace(other, background=setup.background)
        if part == PLACEMENT:
            other = with_form(other, "bill_and_tail", form(bird.leaf, "bill_and_tail"))
    else:
        other = with_form(setup, part, form(donor, part))
    return other, other.regions()


def _near_labels(
    before: np.ndarray, after: np.ndarray, parts: Sequence[str]
) -> np.ndarray:
    """Pixels that are, or touch one that is, of one of the parts before or after.

    Tips and lines that are thinner than a pixel have none.
    """
    labels = [draw.PARTS.index(part) for part in parts]
    shown = np.isin(before, labels) | np.isin(after, labels)
    image = Image.fromarray(shown.astype(np.uint8) * 255)
    return np.asarray(image.filter(ImageFilter.MaxFilter(3))) > 0


def with_form(setup: Setup, part: str, new) -> Setup:
    """A setup in which one part of the bird has another form at the same anchor.

    Args:
      setup: of the bird.
      part: one of PARTS, but not the habitat.
      new: the form, as from `donors.form`.
    """
    look, bird = setup.look, setup.bird
    replace = dataclasses.replace
    if part == "body":
        other = build(replace(look, body=new), setup.posture)
        torso = {"body": other.body, "underparts": other.underparts}
        return replace(
            setup, bird=replace(bird, **torso, head=other.head, eye=other.eye)
        )
    if part == "legs":
        new = replace(look, body=replace(look.body, leg=new))
        return replace(setup, bird=build(new, setup.posture))
    if part == "bill_and_tail":
        look = replace(look, bill_tail=new)
        return replace(setup, look=look, bird=build(look, setup.posture))
    if part == "wing":
        return replace(setup, look=replace(look, wing=new))
    look = replace(look, patch_place=new)
    patch = patch_on(bird, new, setup.patch_radius)
    return replace(setup, look=look, patch=patch)
