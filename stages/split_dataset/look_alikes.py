"""Labels that look alike, and would be classes of their own."""

import re
import unicodedata
from collections import defaultdict

import pandas as pd

from stages.shared.pipeline.command import UserError

# Soft hyphen, fillers, zero-width and direction marks, variation selectors, byte-order mark.
INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffc\U000e0100-\U000e01ef]"
)
# Dashes and quotes as keyboards and word processors have them, and Cyrillic and Greek letters that look Latin.
LATIN = str.maketrans(
    "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u2018\u2019\u02bc\u201c\u201d"
    "\u0410\u0412\u0421\u0415\u041d\u0406\u0408\u041a\u041c\u041e\u0420\u0405\u0422\u0425\u0430\u0441\u0435\u0456\u0458\u043e"
    "\u0440\u0455\u0443\u0445\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7\u03bf",
    "-------" + 3 * "'" + 2 * '"' + "ABCEHIJKMOPSTXaceijopsyxABEZHIKMNOPTYXo",
)


def check_look_alikes(table: pd.DataFrame) -> None:
    """Raise UserError where labels differ in what hardly shows: blanks, case, accents' form, 0 and 0.0."""
    alike = defaultdict(list)
    for label, images in table.groupby("label"):
        alike[appearance(str(label))].append((str(label), images["path"]))
    doubles = [labels for labels in alike.values() if len(labels) > 1]
    if doubles:
        listing = "\n".join(
            "  " + ", ".join(f"{label!a} ({len(paths)} images: {paths.iloc[0]})" for label, paths in labels)
            for labels in doubles
        )
        raise UserError(
            f"{sum(map(len, doubles))} labels look alike: if those of a line are one class, give them one "
            f"name; if not, names that differ in more.\n{listing}"
        )


def appearance(label: str) -> str:
    """Return what labels that look alike have in common."""
    seen = INVISIBLE.sub("", unicodedata.normalize("NFKC", label.translate(LATIN)))
    words = " ".join(re.sub(r"(?<=\w)-(?=\w)|_", " ", seen).lower().split())
    return re.sub(r"^([+-]?)0*(\d+)(\.0*)?$", r"\1\2", words)
