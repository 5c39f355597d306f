"""How a page calls models, classes and numbers."""

LABELS = {"head": "head", "augmented": "augmented", "fine_tuned": "fine-tuned"}  # in tables and charts
MODELS = {"head": "the head", "augmented": "the augmented model", "fine_tuned": "the fine-tuned model"}
TECHNIQUES = {
    "head": "a dense head, trained on what the frozen base gives for each image",
    "augmented": "a fresh head, trained on augmented versions of each image",
    "fine_tuned": "that head again, trained together with the top of the conv base",
}
CHANGES = {"augmented": "augmented training", "fine_tuned": "fine-tuning"}  # what made it from another model


def counted(number: int, noun: str) -> str:
    """Return "1 image", "2,000 images" or "2 classes"."""
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def quoted(name: str) -> str:
    """Return the name of a class in quotation marks, and isolated, so that it turns no text around it."""
    return f"“\u2068{name}\u2069”"


def listed(words: list[str], most: int = 6) -> str:
    """Return "a", "a and b" or "a, b and 3 more"."""
    shown = words if len(words) <= most else [*words[: most - 1], f"{len(words) - most + 1} more"]
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))


def begun(sentence: str) -> str:
    """Return `sentence` with a capital letter at its beginning."""
    return sentence[0].upper() + sentence[1:]


def stated(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
