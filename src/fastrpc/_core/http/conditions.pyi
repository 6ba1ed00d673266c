def parsed_date(text: str) -> int | None:
    """Return the seconds since 1970 of a date in one of the three forms of HTTP; None for any other text."""
