"""Texts that a server, a caller or a registry may send to act in a page, a terminal or a spreadsheet."""

__all__ = ["HOSTILE_TEXTS"]

HOSTILE_TEXTS = (
    # Markup.
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "<iframe srcdoc='<script>parent.alert(1)</script>'></iframe>",
    "<a href='javascript:alert(1)'>a</a>",
    '"><script>alert(1)</script>',
    "' autofocus onfocus=alert(1) x='",
    "<!--<script>-->alert(1)",
    "<base href='http://192.0.2.1/'>",
    "<meta http-equiv=refresh content='0;url=http://192.0.2.1/'>",
    "<style>*{background:url(http://192.0.2.1/)}</style>",
    "</title></textarea></style></noscript><script>alert(1)</script>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "<math><mtext></math><img src=x onerror=alert(1)>",
    "{{constructor.constructor('alert(1)')()}}",
    "${alert(1)}",
    # URL schemes.
    "javascript:alert(1)",
    "JaVaScRiPt\t:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "//192.0.2.1/a.js",
    "http://192.0.2.1/?leak",
    # CSS.
    "background:url(http://192.0.2.1/)",
    "red;}*{display:none",
    "expression(alert(1))",
    # Order and invisible characters.
    "\u202egnp.exe",
    "\u2066\u2067a\u2069",
    "\u200b\u200c\u200d\ufeff",
    "a\u00adb\u2060c",
    "\U000e0041\U000e0042",
    "one\u2028two\u2029three",
    "name\nerror: forged",
    # Long.
    "a" * 10_000,
    "\U0001f4a9" * 10_000,
    "a\u0300\u0301\u0302" * 2_500,
    # Control sequences.
    "\x1b[2J\x1b]0;owned\x07",
    "\x00\x08\x7f\x9b31m",
    # Names of properties.
    "__proto__",
    "constructor",
    "toString",
    # Formulas.
    '=HYPERLINK("http://192.0.2.1/","a")',
    "+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(1)",
    "\t=1+1",
    "x;=1+1;y",
)
