"""Long product texts. Postgres moves a value out of its row only when the row stays above 2 kB after compression."""

from __future__ import annotations

from random import Random


def _phrases(text: str) -> list[str]:
    return " ".join(text.split()).split(" / ")


_SUBJECTS = _phrases("""
    the glaze / this piece / each batch / the handle / our workshop in Stoke / the lining / every seam / the lid /
    the base / the printed sleeve / the second firing / the recycled card / the hand-cut stencil / the outer carton
""")
_VERBS = _phrases("""
    is finished by / was tested with / keeps its shape after / has been matched to / comes wrapped in /
    is graded under / can be combined with / was photographed beside / outlasts / is signed off by /
    needs no more than / is weighed against
""")
_OBJECTS = _phrases("""
    beeswax polish / a linen pouch / quarry slate / winter daylight / two coats of milk paint / a brass ferrule /
    a felt pad / the dishwasher trial / unbleached cotton / the spring collection / sea-washed glass /
    a cork stopper / oak gall ink / the archive pattern book / cold-pressed linseed oil / a numbered certificate
""")
_ASIDES = ("lot", "mould", "pattern", "inspection", "drawing", "batch card", "shade card", "kiln")


def long_description(rng: Random, name: str, length: int = 6500) -> str:
    """Text of about `length` characters about `name`; varied enough to stay above 2 kB when compressed."""
    parts = [f"{name}."]
    size = 0
    while size < length:
        sentence = _sentence(rng)
        parts.append(sentence)
        size += len(sentence) + 1
    return " ".join(parts)


def _sentence(rng: Random) -> str:
    subject, verb, thing = rng.choice(_SUBJECTS), rng.choice(_VERBS), rng.choice(_OBJECTS)
    # Random codes are what compression can't squeeze.
    code = f"{rng.choice(_ASIDES)} {rng.getrandbits(44):011x}"
    sizes = f"{rng.uniform(2, 60):.1f} by {rng.uniform(2, 60):.1f} cm, {rng.randint(20, 4900)} g"
    return f"{subject[0].upper()}{subject[1:]} {verb} {thing} ({code}; {sizes})."
