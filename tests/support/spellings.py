"""Texts that could be taken for another one."""

__all__ = ["other_spellings"]


def other_spellings(text: str) -> list[str]:
    """Return 100 texts that a reader, or a careless comparison, could take for this one."""
    marks = [
        "\0",
        " ",
        "\t",
        "\n",
        "\r",
        "\x7f",
        "\u00ad",
        "\u200b",
        "\u200d",
        "\u202e",
        "\u2060",
        "\ufeff",
        "\\",
        "%00",
    ]
    found = [mark + text for mark in marks] + [text + mark for mark in marks]
    found += [text[:place] + mark + text[place:] for mark in marks for place in (3, len(text) - 1)]
    found += [text.upper(), text.capitalize(), text.swapcase(), text.title()]
    found += [
        text.replace("a", other) for other in ("а", "\uff41", "á", "a\u0301", "%61", "\\u0061", "&#97;")
    ]
    found += [
        text.replace(".", other)
        for other in ("..", "/", "\\", "%2e", "\uff0e", "\u2024", "．", ":", "_.", "._")
    ]
    found += [
        f"{text}.",
        f".{text}",
        f"{text}/",
        f"./{text}",
        f"{text}?",
        f"{text}#",
        f"{text};x",
        f'"{text}"',
        f"'{text}'",
    ]
    found += [
        text[:-1],
        text + text[-1],
        text[1:],
        text[::-1],
        text.replace("a", ""),
        f"{text}.{text}",
        "*",
        "**",
        "",
    ]
    found += [
        "shop.*",
        "shop.**",
        "role:admin",
        "anonymous",
        "role:*",
        f"role:{text}",
        "alice,bank",
        "fastrpc.**",
        "*.*",
    ]
    return list(dict.fromkeys(spelling for spelling in found if spelling != text))
